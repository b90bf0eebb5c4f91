//! Jobs that build fields, and jobs that delete or change the images that pass a filter.
//!
//! - `kills`: jobs of many images, whose service is killed midway

mod kills;

use std::fs;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{self, TestServer, original_files, samples};

/// Sends JSON; returns the status and the answer.
async fn send(
    server: &TestServer,
    method: Method,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let request = server.client.request(method, server.at(path)).json(body);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

/// Creates a job and waits for its end.
async fn run(server: &TestServer, body: Value) -> Value {
    let (status, job) = send(server, Method::POST, "/admin/jobs", &body).await;
    assert_eq!(status, 202, "{job}");
    server.wait_for_end(&job["id"]).await
}

/// Declares a field and waits until it is built.
async fn declare(server: &TestServer, path: &str, kind: &str) {
    let url = format!("/admin/fields/{path}");
    let (status, field) = send(server, Method::PUT, &url, &json!({ "type": kind })).await;
    assert!(status.is_success(), "{field}");
    if field["job"].is_object() {
        let job = server.wait_for_end(&field["job"]["id"]).await;
        assert_eq!(job["state"], "succeeded", "{job}");
    }
}

/// Returns the ids of the images that pass a filter, at most 1000.
async fn passing(server: &TestServer, filter: &str) -> Vec<String> {
    let list = server.client.get(server.at("/images"));
    let list = list.query(&[("filter", filter), ("limit", "1000")]);
    let page: Value = list.send().await.unwrap().json().await.unwrap();
    let images = page["images"].as_array();
    let images = images.unwrap_or_else(|| panic!("{page}"));
    images
        .iter()
        .map(|image| image["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Starts a service with images 0 to `count`, whose payloads have their number as `n`.
async fn numbered(count: usize) -> TestServer {
    let server = TestServer::start().await;
    let photo = fs::read(&samples("cat")[0]).unwrap();
    for number in 0..count {
        let url = format!("/images/{number}");
        let put = server.client.put(server.at(&url)).body(photo.clone());
        put.send().await.unwrap().error_for_status().unwrap();
        let patch = json!({ "payload": { "n": number, "old": true } });
        let (status, image) = send(&server, Method::PATCH, &url, &patch).await;
        assert_eq!(status, 200, "{image}");
    }
    server
}

#[tokio::test]
async fn deleted_images_have_no_originals() {
    let server = numbered(6).await;
    declare(&server, "n", "integer").await;
    let job = run(
        &server,
        json!({ "kind": "delete_images", "filter": "n < 4" }),
    )
    .await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let result = &job["result"];
    assert_eq!(
        (&result["deleted"], &result["kept"], &result["gone"]),
        (&json!(4), &json!(0), &json!(0)),
        "{job}"
    );
    assert_eq!(passing(&server, "id EXISTS").await, ["4", "5"]);
    let originals = server.folder.path().join("data/originals");
    server::eventually("the originals are released", async || {
        (original_files(&originals).len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn images_are_changed_unless_that_would_exceed_their_limits() {
    let server = numbered(4).await;
    declare(&server, "n", "integer").await;
    let many: Vec<String> = (0..32).map(|label| label.to_string()).collect();
    let full = send(
        &server,
        Method::PATCH,
        "/images/2",
        &json!({ "labels": many }),
    )
    .await;
    assert_eq!(full.0, 200, "{}", full.1);
    let job = run(
        &server,
        json!({
            "kind": "change_images", "filter": "n >= 1", "expect": 3, "add_labels": ["sale"],
            "payload": { "old": null, "price": { "eur": 5 } },
        }),
    )
    .await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["result"]["changed"], 2, "{job}");
    assert_eq!(job["result"]["refused_count"], 1, "{job}");
    let refused = &job["result"]["refused"][0];
    assert_eq!(refused["id"], "2");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("33 labels; at most 32"), "{reason}");
    assert_eq!(passing(&server, r#"labels = "sale""#).await, ["1", "3"]);
    for (id, payload) in [
        ("0", json!({ "n": 0, "old": true })),
        ("2", json!({ "n": 2, "old": true })),
        ("3", json!({ "n": 3, "price": { "eur": 5 } })),
    ] {
        let (_, image) = server.ask(Method::GET, &format!("/images/{id}")).await;
        assert_eq!(image["payload"], payload);
    }
}

#[tokio::test]
async fn a_job_fails_if_another_number_of_images_passes_than_expected() {
    let server = numbered(3).await;
    declare(&server, "n", "integer").await;
    let body = json!({ "kind": "delete_images", "filter": "n >= 1", "expect": 1 });
    let job = run(&server, body).await;
    assert_eq!(job["state"], "failed", "{job}");
    let error = job["error"].as_str().unwrap();
    assert!(
        error.starts_with("2 images pass the filter, not 1"),
        "{error}"
    );
    assert_eq!(passing(&server, "n >= 0").await.len(), 3);
}

#[tokio::test]
async fn jobs_with_wrong_options_are_refused() {
    let server = numbered(1).await;
    for (body, status, code, words) in [
        (
            json!({ "kind": "delete_images", "filter": "n < 1" }),
            400,
            "undeclared_field",
            "n",
        ),
        (
            json!({ "kind": "fine_tune", "filter": "n < 1" }),
            400,
            "undeclared_field",
            "n",
        ),
        (
            json!({ "kind": "adapt", "filter": "n <" }),
            400,
            "invalid_filter",
            "",
        ),
        (
            json!({ "kind": "delete_images" }),
            422,
            "invalid_json",
            "filter",
        ),
        (
            json!({ "kind": "delete_images", "filter": "id EXISTS", "labels": [] }),
            422,
            "invalid_json",
            "expect",
        ),
        (
            json!({ "kind": "change_images", "filter": "id EXISTS" }),
            422,
            "invalid_json",
            "at least one",
        ),
        (
            json!({ "kind": "change_images", "filter": "id EXISTS", "labels": [], "add_labels": ["a"] }),
            422,
            "invalid_json",
            "left out",
        ),
        (
            json!({ "kind": "build_field", "field": "n", "number": 1 }),
            422,
            "invalid_json",
            "build_field",
        ),
    ] {
        let (found, problem) = send(&server, Method::POST, "/admin/jobs", &body).await;
        assert_eq!(found, status, "{body}: {problem}");
        assert_eq!(problem["code"], code, "{body}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{body}: {detail}");
    }
}
