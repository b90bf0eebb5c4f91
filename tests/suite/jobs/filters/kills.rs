//! Builds a field and deletes by a filter over so many images that it takes a while, and kills the
//! service midway. The index is filled directly.

use std::{future::ready, path::Path, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use scihcgrl::{
    code::{HashCode, Length},
    index::{Codes, FieldType, Index, IndexConfig, NewImage, Requirement, Sketch},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{declare, passing, send};
use crate::server::{self, TestServer};

const IMAGES: usize = 20_000;

/// An image without a picture.
fn image(number: usize) -> NewImage {
    let mut random = ChaCha8Rng::seed_from_u64(number as u64);
    NewImage {
        id: number.to_string().parse().unwrap(),
        codes: vec![Codes {
            generation: 1,
            codes: Length::ALL
                .map(|length| HashCode::from_word(length, random.random()))
                .to_vec(),
            sketch: Some(Sketch::from_values(vec![1; server::SKETCH_BYTES]).unwrap()),
        }],
        labels: Vec::new(),
        payload: Some(json!({ "n": number })),
        media_type: "image/jpeg".to_owned(),
        bytes: 0,
        original: None,
        times: None,
    }
}

fn open(data: &Path, model: &str) -> Index {
    let config = IndexConfig {
        path: data.to_owned(),
        model: Requirement::Preferred(model.to_owned()),
        precision: Requirement::Preferred("fp32".to_owned()),
        lengths: Length::ALL.to_vec(),
        sketch: Some(server::SKETCH_BYTES),
        sketch_storage: None,
        gallery: None,
        cache_bytes: 64 << 20,
    };
    Index::open(config).unwrap()
}

/// Returns the folder of a stopped service with images whose payloads have their number as `n`, and
/// the id of its model.
async fn filled() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &[]);
    let (_, info) = server.ask(Method::GET, "/info").await;
    let model = info["model_id"].as_str().unwrap().to_owned();
    let folder = server.kill();
    let index = open(&folder.path().join("data"), &model);
    let puts = stream::iter(0..IMAGES).map(|number| index.put(image(number)));
    let stored = puts.buffer_unordered(1024);
    stored.try_for_each(|_| ready(Ok(()))).await.unwrap();
    index.close().unwrap();
    (folder, model)
}

/// Returns the number of images that pass a filter.
async fn count(server: &TestServer, filter: &str) -> u64 {
    let list = server.client.get(server.at("/images"));
    let list = list.query(&[("filter", filter), ("limit", "1")]);
    let page: Value = list.send().await.unwrap().json().await.unwrap();
    page["total"].as_u64().unwrap_or_else(|| panic!("{page}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_build_resumes_and_a_missing_one_begins_at_the_start() {
    let (folder, model) = filled().await;
    // A service that was killed after it declared the field, and before it created the job.
    let index = open(&folder.path().join("data"), &model);
    let field = index.declare("n".parse().unwrap(), FieldType::Integer);
    assert!(!field.await.unwrap().built);
    index.close().unwrap();
    drop(index);
    let mut server = TestServer::start_in(folder, &[]);
    let newest = async |server: &TestServer| {
        server::eventually("the job exists", async || {
            let (_, jobs) = server.ask(Method::GET, "/admin/jobs").await;
            let jobs = jobs["jobs"].as_array().unwrap().clone();
            assert!(jobs.len() < 2, "{jobs:?}");
            jobs.first().cloned()
        })
        .await
    };
    let job = newest(&server).await;
    assert_eq!(
        (&job["kind"], &job["field"]),
        (&json!("build_field"), &json!("n"))
    );
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..3 {
        let pause = Duration::from_millis(random.random_range(0..200));
        tokio::time::sleep(pause).await;
        server = TestServer::start_in(server.kill(), &[]);
        assert_eq!(newest(&server).await["id"], job["id"]);
    }
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    println!("resumed {} times", job["resumed"]);
    assert_eq!(count(&server, "n < 12345").await, 12_345);
    assert_eq!(passing(&server, "n = 19999").await, ["19999"]);
    // Declared again, it is built already.
    declare(&server, "n", "integer").await;
    newest(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_deleted_during_its_build_fails_the_job() {
    let (folder, _) = filled().await;
    let server = TestServer::start_in(folder, &[]);
    let body = json!({ "type": "integer" });
    let (status, field) = send(&server, Method::PUT, "/admin/fields/n", &body).await;
    assert_eq!(status, 202, "{field}");
    let (_, again) = send(&server, Method::PUT, "/admin/fields/n", &body).await;
    assert_eq!(again["job"]["id"], field["job"]["id"]);
    let (status, _) = server.ask(Method::DELETE, "/admin/fields/n").await;
    assert_eq!(status, 204);
    let job = server.wait_for_end(&field["job"]["id"]).await;
    if job["state"] == "failed" {
        let error = job["error"].as_str().unwrap();
        assert!(error.contains("field `n` was deleted"), "{error}");
    } else {
        println!("the build was faster than the request: {job}");
    }
    // The next field of this path has another number, and its own job.
    declare(&server, "n", "integer").await;
    assert_eq!(count(&server, "n < 10").await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_deletion_resumes_and_keeps_images_that_no_longer_pass() {
    const DELETED: usize = 15_000;
    let (folder, _) = filled().await;
    let mut server = TestServer::start_in(folder, &[]);
    declare(&server, "n", "integer").await;
    let body =
        json!({ "kind": "delete_images", "filter": format!("n < {DELETED}"), "expect": DELETED });
    let (status, job) = send(&server, Method::POST, "/admin/jobs", &body).await;
    assert_eq!(status, 202, "{job}");
    let path = format!("/admin/jobs/{}", job["id"].as_str().unwrap());
    let done = async |server: &TestServer| {
        let (_, job) = server.ask(Method::GET, &path).await;
        (job["progress"]["images"]["done"].as_u64().unwrap_or(0), job)
    };
    for kill in 0..2 {
        let before = done(&server).await.0;
        server::eventually("images are deleted", async || {
            let (now, job) = done(&server).await;
            let waits = ["queued", "running"].contains(&job["state"].as_str().unwrap());
            assert!(waits, "the job ended too soon for this test: {job}");
            (now > before).then_some(())
        })
        .await;
        if kill == 0 {
            // The last image in order of age no longer passes.
            let url = format!("/images/{}", DELETED - 1);
            let patch = json!({ "payload": { "n": IMAGES } });
            let (status, image) = send(&server, Method::PATCH, &url, &patch).await;
            assert_eq!(status, 200, "{image}");
        }
        server = TestServer::start_in(server.kill(), &[]);
    }
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(
        (&job["state"], &job["resumed"]),
        (&json!("succeeded"), &json!(2)),
        "{job}"
    );
    assert_eq!(count(&server, &format!("n < {DELETED}")).await, 0);
    assert_eq!(
        count(&server, "id EXISTS").await,
        (IMAGES - DELETED + 1) as u64
    );
    let kept = passing(&server, &format!("n = {IMAGES}")).await;
    assert_eq!(kept, [(DELETED - 1).to_string()]);
    // Up to a page of images is not counted for each kill.
    let number = |name: &str| job["result"][name].as_u64().unwrap();
    let counted = number("deleted") + number("kept") + number("gone");
    let all = DELETED as u64;
    assert!((all - 1 - 2 * 1000..=all).contains(&counted), "{job}");
}
