//! A service under a path of a proxy. Its addresses begin with the path, whether or not the proxy
//! removes the path from requests. tests/page/check.py uses a real proxy.

use std::fs;

use reqwest::{Method, StatusCode, redirect::Policy};
use serde_json::Value;

use crate::server::{self, TestServer, samples};

/// Stores an image by this path; returns its `location` and `content_url`.
async fn put(server: &TestServer, path: &str, prefix: &str) -> [String; 2] {
    let picture = fs::read(&samples("cat")[0]).unwrap();
    let put = server.client.put(server.at(path)).body(picture);
    let put = put.header("x-forwarded-prefix", prefix).send().await;
    let put = put.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED, "{path}");
    let location = put.headers()["location"].to_str().unwrap().to_owned();
    let image: Value = put.json().await.unwrap();
    let content = image["content_url"].as_str().unwrap().to_owned();
    [location, content]
}

#[tokio::test]
async fn addresses_start_with_the_base_path_and_requests_may() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--base-path", "/photos/"]);
    for (path, number) in [("/images/1", 1), ("/photos/images/2", 2)] {
        // The header is not trusted without the flag.
        let [location, content] = put(&server, path, "/evil").await;
        assert_eq!(location, format!("/photos/images/{number}"));
        assert_eq!(content, format!("/photos/images/{number}/content"));
        let (status, image) = server.ask(Method::GET, &location).await;
        assert_eq!(
            (status, &image["content_url"]),
            (StatusCode::OK, &content.into())
        );
    }
    for path in [
        "/livez",
        "/photos/livez",
        "/photos/",
        "/photos/web/main.js",
        "/photos/docs/",
        "/photos/openapi.yaml",
    ] {
        let answer = server.client.get(server.at(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    for path in ["/photosimages/1", "/photos/photos/images/1"] {
        assert_eq!(
            server.ask(Method::GET, path).await.0,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    // The page's own addresses are relative.
    let client = server::client().redirect(Policy::none()).build().unwrap();
    let answer = client.get(server.at("/photos")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.headers()["location"], "/photos/");
    // Metrics name the route without the base path.
    let requests = server
        .metric("scihcgrl_requests_total{method=\"PUT\",route=\"/images/{id}\",status=\"201\"}");
    assert_eq!(requests.await, Some(2.0));
    let search = server
        .client
        .post(server.at("/photos/search"))
        .json(&serde_json::json!({ "id": "1" }));
    let found: Value = search.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        found["matches"][0]["content_url"],
        "/photos/images/1/content"
    );
}

#[tokio::test]
async fn a_forwarded_prefix_is_used_if_it_is_trusted_and_valid() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--trust-forwarded-prefix"]);
    for (number, prefix, base) in [
        (1, "/photos", "/photos"),
        (2, "/a/b/", "/a/b"),
        (3, "", ""),
        (4, "https://evil.example", ""),
        (5, "/a/../b", ""),
        (6, "//evil.example", ""),
    ] {
        let [location, content] = put(&server, &format!("/images/{number}"), prefix).await;
        assert_eq!(location, format!("{base}/images/{number}"));
        assert_eq!(content, format!("{base}/images/{number}/content"));
    }
}
