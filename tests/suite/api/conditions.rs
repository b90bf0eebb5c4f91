//! Conditional writes on one service. `replicas::conditions` has those on several.

use std::collections::BTreeSet;

use crate::server::{self, TestServer};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

const UPRIGHT: &[u8] = include_bytes!("../../fixtures/upright.jpg");

fn tag(answer: &Response) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

/// Sends a request about the image "first", with an optional condition. A PUT stores it, a PATCH
/// labels it.
async fn ask(server: &TestServer, method: Method, condition: &str) -> Response {
    let url = server.at("/images/first");
    let mut request = server.client.request(method.clone(), url);
    if let Some((name, value)) = condition.split_once(": ") {
        request = request.header(name, value);
    }
    let request = match method {
        Method::PUT => request.body(UPRIGHT),
        Method::PATCH => request.json(&json!({ "labels": ["new"] })),
        _ => request,
    };
    request.send().await.unwrap()
}

/// Asserts that a write is refused, and that the response has the image's current tag.
async fn refused(answer: Response, present: Option<&str>) {
    assert_eq!(answer.status(), 412);
    let tag = answer.headers().get("etag").cloned();
    assert_eq!(tag.as_ref().map(|tag| tag.to_str().unwrap()), present);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "precondition_failed");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(present.unwrap_or("no image")), "{detail}");
}

#[tokio::test]
async fn a_conditional_write_succeeds_only_on_the_revision_it_names() {
    let server = TestServer::start().await;
    let ask_for = async |method, condition: &str| ask(&server, method, condition).await;
    refused(ask_for(Method::PUT, "if-match: *").await, None).await;
    for method in [Method::PATCH, Method::DELETE] {
        let missing = ask_for(method, "if-match: \"a\"").await;
        assert_eq!(
            missing.status(),
            404,
            "a missing image is 404 under any condition"
        );
    }
    let created = ask_for(Method::PUT, "if-none-match: *").await;
    assert_eq!(created.status(), 201);
    let first = tag(&created);
    let mut seen = BTreeSet::from([first.clone()]);
    let again = ask_for(Method::PUT, "if-none-match: *").await;
    refused(again, Some(&first)).await;

    let read = ask_for(Method::GET, &format!("if-none-match: \"a\", W/{first}")).await;
    let (status, unchanged) = (read.status(), tag(&read));
    assert_eq!((status, &unchanged), (StatusCode::NOT_MODIFIED, &first));
    assert_eq!(read.bytes().await.unwrap(), "");

    let changed = ask_for(Method::PATCH, &format!("if-match: {first}")).await;
    assert_eq!(changed.status(), 200);
    let second = tag(&changed);
    assert!(seen.insert(second.clone()));
    let read = ask_for(Method::GET, &format!("if-none-match: {first}")).await;
    assert_eq!(
        (read.status(), tag(&read)),
        (StatusCode::OK, second.clone())
    );
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        for stale in [&first, &format!("W/{second}"), "\"a\""] {
            let late = ask_for(method.clone(), &format!("if-match: {stale}")).await;
            refused(late, Some(&second)).await;
        }
        let bare = second.trim_matches('"');
        let malformed = ask_for(method, &format!("if-match: {bare}")).await;
        assert_eq!(malformed.status(), 400);
        let problem: Value = malformed.json().await.unwrap();
        assert_eq!(problem["code"], "malformed_request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with("if-match must be"), "{detail}");
    }
    let replaced = ask_for(Method::PUT, &format!("if-match: {first}, {second}")).await;
    assert_eq!(replaced.status(), 200);
    let third = tag(&replaced);
    assert!(seen.insert(third.clone()));
    assert_eq!(tag(&ask_for(Method::GET, "").await), third);

    let deleted = ask_for(Method::DELETE, &format!("if-match: {third}")).await;
    assert_eq!(deleted.status(), 204);
    let created_again = tag(&ask_for(Method::PUT, "").await);
    assert!(
        seen.insert(created_again.clone()),
        "another image has another tag"
    );
    let late = ask_for(Method::PATCH, &format!("if-match: {third}")).await;
    refused(late, Some(&created_again)).await;
    // More writes than fit into a byte.
    for _ in 0..300 {
        assert!(seen.insert(tag(&ask_for(Method::PATCH, "").await)));
    }
    let last = tag(&ask_for(Method::GET, "").await);
    let server = TestServer::start_in(server.kill(), &[]);
    let read = ask(&server, Method::GET, &format!("if-none-match: {last}")).await;
    assert_eq!(read.status(), 304, "a tag outlives the service");
}

#[tokio::test]
async fn a_tag_changes_with_the_codes() {
    let server = TestServer::start().await;
    let other = server::second_model(server.folder.path());
    let before = tag(&ask(&server, Method::PUT, "").await);
    let (_, info) = server.ask(Method::GET, "/info").await;
    let post = server.client.post(server.at("/admin/models"));
    let post = post.body(std::fs::read(other).unwrap()).send().await;
    let other: Value = post.unwrap().json().await.unwrap();
    let activate = async |model: &Value| {
        let path = format!("/admin/models/{}/activate", model.as_str().unwrap());
        let (_, activated) = server.ask(Method::POST, &path).await;
        if activated["job"].is_object() {
            server.wait_for_end(&activated["job"]["id"]).await;
        }
    };
    activate(&other["id"]).await;
    let after = ask(&server, Method::GET, &format!("if-none-match: {before}")).await;
    assert_eq!(after.status(), 200, "other codes have another tag");
    let late = ask(&server, Method::PATCH, &format!("if-match: {before}")).await;
    refused(late, Some(&tag(&after))).await;
    activate(&info["model_id"]).await;
    assert_eq!(tag(&ask(&server, Method::GET, "").await), before);
}

#[tokio::test]
async fn of_parallel_writers_one_wins_and_the_others_leave_nothing() {
    let server = TestServer::start().await;
    let mut condition = "if-none-match: *".to_owned();
    for _ in 0..10 {
        let writers = (0..8).map(|_| ask(&server, Method::PUT, &condition));
        let answers = futures_util::future::join_all(writers).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers
            .into_iter()
            .partition(|answer| answer.status().is_success());
        let [won] = &won[..] else {
            panic!("{} won", won.len())
        };
        for lost in lost {
            refused(lost, Some(&tag(won))).await;
        }
        condition = format!("if-match: {}", tag(won));
    }
    let originals = server.folder.path().join("data/originals");
    server::eventually("originals of the refused writes are removed", async || {
        (server::original_files(&originals).len() == 1).then_some(())
    })
    .await;
}
