//! Deleting and changing all images that pass a filter, with a key of the role write.

use std::fs;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{ids, put, send, with_query};
use crate::server::{self, TestServer};

const READ: &str = "reads-and-nothing-else";
const WRITE: &str = "writes-and-reads-too";
const OTHER_WRITE: &str = "writes-after-a-rotation";
const ADMIN: &str = "administers-everything";

/// A service with keys and six images, of the prices 1 to 6.
async fn shop() -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let keys = folder.path().join("keys.toml");
    let text =
        format!("read = ['{READ}']\nwrite = ['{WRITE}', '{OTHER_WRITE}']\nadmin = ['{ADMIN}']\n");
    fs::write(&keys, text).unwrap();
    let shop = TestServer::start_in(folder, &["--keys-file", keys.to_str().unwrap()]);
    let url = shop.at("/admin/fields/price");
    let declare = shop.client.put(url).json(&json!({ "type": "number" }));
    assert_eq!(send(declare.bearer_auth(ADMIN)).await.0, 201);
    for price in 1..=6 {
        let payload = json!({ "price": price, "old": true });
        let stored = put(&shop, &format!("at-{price}"), &payload).bearer_auth(WRITE);
        assert_eq!(send(stored).await.0, 201);
    }
    shop
}

/// Returns a request to change or delete images.
fn select(shop: &TestServer, method: Method, parameters: &[(&str, &str)]) -> RequestBuilder {
    with_query(shop, method, "/images", parameters).bearer_auth(WRITE)
}

async fn get(shop: &TestServer, path: &str, key: &str) -> (u16, Value) {
    send(shop.client.get(shop.at(path)).bearer_auth(key)).await
}

/// Follows a job to its end with the key that started it.
async fn end_of(shop: &TestServer, job: &Value) -> Value {
    let path = format!("/admin/jobs/{}", job["id"].as_str().unwrap());
    server::eventually("the job ends", async || {
        let (status, job) = get(shop, &path, WRITE).await;
        assert_eq!(status, 200, "{job}");
        ["succeeded", "failed"]
            .contains(&job["state"].as_str().unwrap())
            .then_some(job)
    })
    .await
}

async fn stored(shop: &TestServer) -> Vec<String> {
    ids(&get(shop, "/images", READ).await.1["images"])
}

#[tokio::test]
async fn a_deletion_is_counted_first_and_then_runs_as_a_job() {
    let shop = shop().await;
    let delete = |parameters: &[(&str, &str)]| select(&shop, Method::DELETE, parameters);
    for parameters in [
        &[][..],
        &[("filter", "")],
        &[("filter", " \t")],
        &[("filter", ""), ("label", "sale")],
        &[("dry_run", "true")],
    ] {
        let (status, problem) = send(delete(parameters)).await;
        assert_eq!(
            (status, &problem["code"]),
            (400, &json!("missing_filter")),
            "{parameters:?}"
        );
        assert!(problem["detail"].as_str().unwrap().contains("id EXISTS"));
    }
    let cheap = ("filter", "price <= 2");
    let (status, count) = send(delete(&[cheap, ("dry_run", "true")])).await;
    assert_eq!((status, count), (200, json!({ "count": 2 })));
    let (status, problem) = send(delete(&[cheap, ("expect", "3")])).await;
    assert_eq!(
        (status, &problem["code"]),
        (412, &json!("unexpected_count"))
    );
    assert_eq!(
        problem["detail"],
        "2 images pass the filter, not 3; nothing was changed"
    );
    assert_eq!(stored(&shop).await.len(), 6);
    let read = with_query(&shop, Method::DELETE, "/images", &[cheap]).bearer_auth(READ);
    assert_eq!(send(read).await.0, 403);

    let answer = delete(&[cheap, ("expect", "2")]).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let job: Value = answer.json().await.unwrap();
    assert_eq!(
        location,
        format!("/admin/jobs/{}", job["id"].as_str().unwrap())
    );
    assert_eq!(
        (&job["kind"], &job["filter"]),
        (&json!("delete_images"), &json!("price <= 2"))
    );
    let ended = end_of(&shop, &job).await;
    assert_eq!(
        (&ended["state"], &ended["result"]["deleted"]),
        (&json!("succeeded"), &json!(2))
    );
    assert_eq!(stored(&shop).await, ["at-3", "at-4", "at-5", "at-6"]);

    let (status, job) = send(delete(&[("filter", "id EXISTS")])).await;
    assert_eq!(status, 202, "{job}");
    end_of(&shop, &job).await;
    assert!(stored(&shop).await.is_empty());
}

#[tokio::test]
async fn a_change_merges_payloads_and_labels() {
    let shop = shop().await;
    let patch =
        |filter: &str, body: Value| select(&shop, Method::PATCH, &[("filter", filter)]).json(&body);
    let body = json!({ "add_labels": ["sale"], "payload": { "price": 0.5, "old": null } });
    let (status, job) = send(patch("price > 4", body)).await;
    assert_eq!(
        (status, &job["kind"]),
        (202, &json!("change_images")),
        "{job}"
    );
    let ended = end_of(&shop, &job).await;
    assert_eq!(
        (&ended["state"], &ended["result"]["changed"]),
        (&json!("succeeded"), &json!(2))
    );
    let (_, image) = get(&shop, "/images/at-5", READ).await;
    assert_eq!(
        (&image["labels"], &image["payload"]),
        (&json!(["sale"]), &json!({ "price": 0.5 }))
    );

    // By labels alone, which `label` selects too.
    let by_label = select(&shop, Method::PATCH, &[("label", "sale")]);
    let body = json!({ "remove_labels": ["sale"], "payload": null });
    let (status, job) = send(by_label.json(&body)).await;
    assert_eq!(
        (status, &job["filter"]),
        (202, &json!("labels IN [\"sale\"]")),
        "{job}"
    );
    end_of(&shop, &job).await;
    let (_, image) = get(&shop, "/images/at-6", READ).await;
    assert_eq!(
        (&image["labels"], &image["payload"]),
        (&json!([]), &Value::Null)
    );
    let (_, image) = get(&shop, "/images/at-1", READ).await;
    assert_eq!(image["payload"], json!({ "price": 1, "old": true }));

    let long = "x".repeat(256);
    for (body, code) in [
        (json!({}), "invalid_json"),
        (
            json!({ "labels": ["a"], "add_labels": ["b"] }),
            "invalid_json",
        ),
        (json!({ "label": ["a"] }), "invalid_json"),
        (json!({ "labels": null }), "invalid_json"),
        (json!({ "add_labels": [long] }), "invalid_label"),
        (json!({ "labels": vec!["a"; 33] }), "invalid_label"),
        (
            json!({ "payload": { "text": "x".repeat(17_000) } }),
            "invalid_payload",
        ),
    ] {
        let (status, problem) = send(patch("price > 4", body)).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{problem}");
    }
}

#[tokio::test]
async fn a_write_key_sees_and_cancels_its_own_jobs_only() {
    let shop = shop().await;
    let (status, job) = send(select(&shop, Method::DELETE, &[("filter", "price = 1")])).await;
    assert_eq!(status, 202, "{job}");
    end_of(&shop, &job).await;
    let path = format!("/admin/jobs/{}", job["id"].as_str().unwrap());
    for (key, expected) in [(READ, 403), (WRITE, 200), (OTHER_WRITE, 404), (ADMIN, 200)] {
        assert_eq!(get(&shop, &path, key).await.0, expected, "{key}");
        let events = shop.client.get(shop.at(&format!("{path}/events")));
        assert_eq!(send(events.bearer_auth(key)).await.0, expected, "{key}");
        let cancel = shop.client.post(shop.at(&format!("{path}/cancel")));
        assert_eq!(send(cancel.bearer_auth(key)).await.0, expected, "{key}");
    }
    assert_eq!(get(&shop, "/admin/jobs", WRITE).await.0, 403);
    let remove = shop.client.delete(shop.at(&path)).bearer_auth(WRITE);
    assert_eq!(send(remove).await.0, 403);
    // An administrator's job does not exist for others, with the same words as an unknown one.
    let url = shop.at("/admin/fields/weight");
    let declare = shop.client.put(url).json(&json!({ "type": "number" }));
    let (status, declared) = send(declare.bearer_auth(ADMIN)).await;
    assert_eq!(status, 202, "{declared}");
    let id = declared["job"]["id"].as_str().unwrap();
    let (status, hidden) = get(&shop, &format!("/admin/jobs/{id}"), WRITE).await;
    assert_eq!((status, &hidden["code"]), (404, &json!("job_not_found")));
    let unknown = id.replace(&id[..8], "00000000");
    let (_, problem) = get(&shop, &format!("/admin/jobs/{unknown}"), WRITE).await;
    let detail = problem["detail"].as_str().unwrap().replace(&unknown, id);
    assert_eq!(hidden["detail"], detail);
    // No answer has the key.
    let (_, seen) = get(&shop, &path, ADMIN).await;
    assert!(!seen.to_string().contains(WRITE));
}

#[tokio::test]
async fn an_idempotency_key_of_one_caller_starts_one_job() {
    let shop = shop().await;
    let parameters = [("filter", "price = 1"), ("expect", "1")];
    let delete = |key: &str| {
        let request = with_query(&shop, Method::DELETE, "/images", &parameters);
        request
            .bearer_auth(key)
            .header("idempotency-key", "nightly")
    };
    let (status, job) = send(delete(WRITE)).await;
    assert_eq!(status, 202, "{job}");
    end_of(&shop, &job).await;
    // The count is another one now.
    let (status, again) = send(delete(WRITE)).await;
    assert_eq!((status, &again["id"]), (200, &job["id"]), "{again}");
    let (status, other) = send(delete(OTHER_WRITE)).await;
    assert_eq!(status, 202, "{other}");
    assert_ne!(other["id"], job["id"]);
}
