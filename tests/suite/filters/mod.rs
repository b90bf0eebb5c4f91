//! Filters by payload, with a real service. `api::bad_input` has wrong filters.
//!
//! - `agreement`: the images that pass are those of a plain list, in searches and lists
//! - `fields`: declaring, building and deleting fields
//! - `requests`: where a filter can be
//! - `selections`: deleting and changing many images

mod agreement;
mod fields;
mod requests;
mod selections;

use reqwest::{
    Method, RequestBuilder,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::server::TestServer;

const UPRIGHT: &[u8] = include_bytes!("../../fixtures/upright.jpg");

/// Returns the request that stores an image with a payload.
fn put(server: &TestServer, id: &str, payload: &Value) -> RequestBuilder {
    let form = Form::new().text("payload", payload.to_string());
    let form = form.part("image", Part::bytes(UPRIGHT));
    let url = server.at(&format!("/images/{id}"));
    server.client.put(url).multipart(form)
}

async fn store(server: &TestServer, id: &str, payload: &Value) {
    let stored = put(server, id, payload).send().await;
    stored.unwrap().error_for_status().unwrap();
}

/// Sends a request; returns the status and the JSON, or null if there is none.
async fn send(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

/// Declares a field; `path` is encoded for an URL.
async fn declare(server: &TestServer, path: &str, kind: &str) -> (u16, Value) {
    let url = server.at(&format!("/admin/fields/{path}"));
    send(server.client.put(url).json(&json!({ "type": kind }))).await
}

/// Declares a field and waits until it is built.
async fn build(server: &TestServer, path: &str, kind: &str) {
    let (status, declared) = declare(server, path, kind).await;
    if status == 202 {
        server.wait_for_end(&declared["job"]["id"]).await;
    }
    let (_, field) = server
        .ask(Method::GET, &format!("/admin/fields/{path}"))
        .await;
    assert_eq!(field["built"], true, "{declared} {field}");
}

/// Returns the request of a path whose query has these parameters.
fn with_query(
    server: &TestServer,
    method: Method,
    path: &str,
    parameters: &[(&str, &str)],
) -> RequestBuilder {
    let mut url = reqwest::Url::parse(&server.at(path)).unwrap();
    url.query_pairs_mut().extend_pairs(parameters);
    server.client.request(method, url)
}

/// Returns the ids of images or matches, in their order.
fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap_or_else(|| panic!("{list}"));
    let ids = list.iter().map(|image| image["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}
