//! A replica whose disk is full stops at its position, refuses writes, and skips nothing.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{
    harness::cluster::{Cluster, folder},
    server::{self, TestServer, eventually},
};
use crate::storage::full_disk::{fill, make_room, on_a_small_disk, path_inside};

#[tokio::test]
async fn a_replica_with_a_full_disk_waits_and_skips_nothing() {
    let cluster = Cluster::empty();
    let first = cluster.one_more("serve", &[]);
    let folder = folder();
    let data = folder.path().join("data");
    let mut serve = server::program(folder.path(), &folder.path().join("model.safetensors"));
    let [originals, snapshots] = cluster.places();
    serve.arg("--originals").arg(originals);
    serve.arg("--snapshots").arg(snapshots);
    serve.args(["--nats", &cluster.nats.urls()]);
    let second = TestServer::start_command(folder, on_a_small_disk(&data, 96, &serve));
    let disk = path_inside(second.process(), &data);
    first.store(&["cat"], 3).await;
    let digest = async |replica: &TestServer| replica.ask(Method::GET, "/admin/digest").await.1;
    let alike = async || {
        eventually("stores that are the same", async || {
            (digest(&first).await == digest(&second).await).then_some(())
        })
        .await;
    };
    alike().await;

    fill(&disk);
    // More writes than the disk can hold, reserve included.
    for number in 0..600 {
        let patch = first
            .client
            .patch(first.at(&format!("/images/cat-{}", number % 3)));
        let payload = format!("{number} {}", "x".repeat(16_000));
        let patched = patch.json(&json!({ "payload": payload })).send().await;
        patched.unwrap().error_for_status().unwrap();
    }
    eventually("the disk is full", async || {
        (second.metric("scihcgrl_disk_full").await == Some(1.0)).then_some(())
    })
    .await;
    assert!(second.metric("scihcgrl_log_lag").await > Some(0.0));
    let (status, problem) = second.ask(Method::DELETE, "/images/cat-0").await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{problem}");
    let (status, _) = second.ask(Method::GET, "/livez").await;
    assert_eq!(status, StatusCode::OK);
    let search = second.client.post(second.at("/search"));
    let search = search.json(&json!({ "id": "cat-1" })).send().await.unwrap();
    assert_eq!(search.status(), StatusCode::OK);

    make_room(&disk);
    alike().await;
    assert_eq!(second.metric("scihcgrl_disk_full").await, Some(0.0));
    let (status, _) = second.ask(Method::DELETE, "/images/cat-0").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    alike().await;
}
