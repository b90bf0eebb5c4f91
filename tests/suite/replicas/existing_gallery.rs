//! A gallery that one service filled becomes one of replicas: its log starts from that store, and
//! others start from a snapshot.

use std::{fs, path::Path, process::Command, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    gallery,
    harness::cluster::{Cluster, folder},
    harness::nats::Proxy,
    server::{self, TestServer, samples},
};

/// Copies a folder, as if it was moved or backed up.
fn copied(from: &Path) -> TempDir {
    let copied = tempfile::tempdir().unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(from.join(".")).arg(copied.path());
    assert!(copy.status().unwrap().success());
    copied
}

/// Starts a service without a log, with the originals that the replicas share.
fn alone(cluster: &Cluster, folder: TempDir) -> TestServer {
    let [originals, _] = cluster.places();
    TestServer::start_with(folder, |program| program.arg("--originals").arg(originals))
}

/// Returns the command of a replica with originals at this place.
fn command(cluster: &Cluster, folder: &Path, originals: &Path) -> Command {
    let mut program = server::program(folder, &folder.join("model.safetensors"));
    program.arg("--originals").arg(originals);
    program.args(["--nats", &cluster.nats.urls()]);
    program
}

/// Starts a replica, which must fail; returns its standard error.
fn stderr_of(cluster: &Cluster, folder: &Path, originals: &Path) -> String {
    let output = command(cluster, folder, originals).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Searches at any distance from a picture; returns the matches.
async fn found(server: &TestServer, class: &str) -> Value {
    let search = server
        .client
        .post(server.at("/search?radius=48&limit=1000"));
    let search = search.body(fs::read(&samples(class)[0]).unwrap());
    search.send().await.unwrap().json::<Value>().await.unwrap()["matches"].clone()
}

async fn activate(server: &TestServer, model: &Value) {
    let path = format!("/admin/models/{}/activate", model.as_str().unwrap());
    let (status, activated) = server.ask(Method::POST, &path).await;
    assert!(status.is_success(), "{activated}");
    if activated["job"].is_object() {
        let job = server.wait_for_end(&activated["job"]["id"]).await;
        assert_eq!(job["state"], "succeeded", "{job}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gallery_of_one_service_becomes_one_of_replicas() {
    let mut cluster = Cluster::empty();
    for _ in 0..3 {
        cluster.proxies.push(Proxy::to(&cluster.nats.ports()).await);
    }
    let [originals, _] = cluster.places();
    let mut service = alone(&cluster, folder());
    service.store(&["cat", "ship"], 6).await;
    let other = server::second_model(service.folder.path());
    let post = service.client.post(service.at("/admin/models"));
    let post = post.body(fs::read(&other).unwrap()).send().await;
    let new = post.unwrap().json::<Value>().await.unwrap()["id"].clone();
    let old = service.ask(Method::GET, "/info").await.1["model_id"].clone();
    activate(&service, &new).await;
    service.store(&["dog"], 2).await;
    assert_eq!(service.ask(Method::DELETE, "/images/cat-5").await.0, 204);
    let (images, matches) = (gallery(&service).await, found(&service, "ship").await);
    assert!(service.terminate());
    let filled = service.kill();
    let backup = copied(filled.path());

    // Its originals must be at the shared place, or no log is created.
    let elsewhere = tempfile::tempdir().unwrap();
    let lost = stderr_of(&cluster, filled.path(), elsewhere.path());
    assert!(lost.contains("are not at"), "{lost}");
    let urls = cluster.nats.urls();
    let client = async_nats::connect(urls.split(',').collect::<Vec<_>>());
    let context = async_nats::jetstream::new(client.await.unwrap());
    assert!(context.get_stream("scihcgrl_gallery").await.is_err());

    // Killed at any moment, it creates the log once.
    for kill in 0..8 {
        let mut process = command(&cluster, filled.path(), &originals)
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(60 * kill)).await;
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let first = cluster.replica(0, filled);
    let (_, digest) = first.ask(Method::GET, "/admin/digest").await;
    assert_eq!(digest["position"], 0);

    // The state from which the log started is accepted in any folder; a later state is not.
    let mut again = alone(&cluster, copied(backup.path()));
    let change = again.client.patch(again.at("/images/cat-4"));
    let change = change.json(&json!({ "labels": ["cat", "asleep"] })).send();
    assert_eq!(change.await.unwrap().status(), 200);
    assert!(again.terminate());
    let changed = again.kill();
    let refused = stderr_of(&cluster, changed.path(), &originals);
    assert!(refused.contains("in another state"), "{refused}");
    let second = cluster.replica(1, backup);
    assert_eq!(second.ask(Method::GET, "/admin/digest").await.1, digest);

    // Without that store or a snapshot, a replica would lack the images from before the log.
    let empty = folder();
    let refused = stderr_of(&cluster, empty.path(), &originals);
    assert!(refused.contains("POST /admin/snapshots"), "{refused}");
    assert!(!empty.path().join("data/db").exists());
    let (_, made) = first.ask(Method::POST, "/admin/snapshots").await;
    let summary = [&made["position"], &made["originals"], &made["images"]];
    assert_eq!(summary, [&json!(0), &json!(false), &json!(13)]);
    let third = cluster.replica(2, empty);
    assert_eq!(third.ask(Method::GET, "/admin/digest").await.1, digest);

    cluster.replicas = vec![first, second, third];
    for (number, replica) in cluster.replicas.iter().enumerate() {
        replica.store(&["frog"], 1 + number).await;
        assert_eq!(
            replica
                .ask(Method::DELETE, &format!("/images/cat-{number}"))
                .await
                .0,
            204
        );
    }
    cluster.settle().await;
    for replica in &cluster.replicas {
        let now = gallery(replica).await;
        assert_eq!(now.len(), images.len() - 3 + 3);
        let ships = found(replica, "ship").await;
        let ships = ships.as_array().unwrap().iter();
        let ships: Vec<&Value> = ships
            .filter(|one| one["labels"] == json!(["ship"]))
            .collect();
        let before = matches.as_array().unwrap().iter();
        let before: Vec<&Value> = before
            .filter(|one| one["labels"] == json!(["ship"]))
            .collect();
        assert_eq!(ships, before);
        let content = replica.client.get(replica.at("/images/ship-3/content"));
        let content = content.send().await.unwrap().bytes().await.unwrap();
        assert_eq!(content, fs::read(&samples("ship")[3]).unwrap());
    }

    // The jobs from before the log are shared too.
    let (_, jobs) = cluster.replicas[0].ask(Method::GET, "/admin/jobs").await;
    assert!(!jobs["jobs"].as_array().unwrap().is_empty(), "{jobs}");
    server::eventually(&format!("the same jobs: {jobs}"), async || {
        let (_, there) = cluster.replicas[2].ask(Method::GET, "/admin/jobs").await;
        (there == jobs).then_some(())
    })
    .await;

    // The standby model is at all replicas and can be activated again.
    activate(&cluster.replicas[2], &old).await;
    cluster.settle().await;
    for replica in &cluster.replicas {
        let (_, info) = replica.ask(Method::GET, "/info").await;
        assert_eq!((&info["model_id"], &info["standby"]["model"]), (&old, &new));
    }
    let filled = cluster.kill(0);
    cluster.replicas.insert(0, cluster.replica(0, filled));
    cluster.settle().await;
}
