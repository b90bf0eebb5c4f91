//! The life of a field: declared, built, tested and deleted.

use reqwest::Method;
use serde_json::{Value, json};

use super::{build, declare, ids, send, store, with_query};
use crate::server::TestServer;

#[tokio::test]
async fn a_field_is_declared_once_and_deleted() {
    let server = TestServer::start().await;
    let url = server.at("/admin/fields/specs.%22screen%20size%22");
    let put = server.client.put(&url).json(&json!({ "type": "integer" }));
    let answer = put.send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let declared: Value = answer.json().await.unwrap();
    assert_eq!(declared["path"], r#"specs."screen size""#);
    assert_eq!(
        (&declared["built"], &declared["job"]),
        (&json!(true), &Value::Null)
    );
    let (status, field) = server.ask(Method::GET, &location).await;
    assert_eq!(
        (status.as_u16(), &field["number"]),
        (200, &declared["number"])
    );

    let (status, again) = send(server.client.put(&url).json(&json!({ "type": "integer" }))).await;
    assert_eq!((status, &again["number"]), (200, &declared["number"]));
    let (status, other) = send(server.client.put(&url).json(&json!({ "type": "bool" }))).await;
    assert_eq!(
        (status, &other["code"]),
        (409, &json!("field_conflict")),
        "{other}"
    );

    store(&server, "phone", &json!({ "specs": { "screen size": 6 } })).await;
    store(
        &server,
        "watch",
        &json!({ "specs": { "screen size": ["small", 1, 2] } }),
    )
    .await;
    store(
        &server,
        "lamp",
        &json!({ "specs": { "screen size": null } }),
    )
    .await;
    store(&server, "book", &json!({ "specs": { "screen size": [] } })).await;
    let (_, field) = server.ask(Method::GET, &location).await;
    for (count, expected) in [("values", 3), ("not_held", 1), ("null", 1), ("empty", 1)] {
        assert_eq!(field[count], expected, "{count}: {field}");
    }
    let (_, listed) = server.ask(Method::GET, "/admin/fields").await;
    assert_eq!(listed, json!({ "fields": [field] }));
    let (_, listed) = server.ask(Method::GET, "/fields").await;
    let shown = json!({ "path": field["path"], "type": "integer", "built": true });
    assert_eq!(listed, json!({ "fields": [shown] }));

    let filter = [("filter", r#"specs."screen size" >= 6"#)];
    let list = || with_query(&server, Method::GET, "/images", &filter);
    assert_eq!(ids(&send(list()).await.1["images"]), ["phone"]);
    let delete = || server.client.delete(&url);
    assert_eq!(send(delete()).await.0, 204);
    let (status, problem) = send(delete()).await;
    assert_eq!((status, &problem["code"]), (404, &json!("field_not_found")));
    let (status, problem) = send(list()).await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("undeclared_field"))
    );
    let (_, phone) = server.ask(Method::GET, "/images/phone").await;
    assert_eq!(phone["payload"]["specs"]["screen size"], 6);
}

#[tokio::test]
async fn a_job_builds_a_field_and_filters_wait_for_it() {
    let server = TestServer::start().await;
    server.store(&["cat", "ship"], 6).await;
    store(&server, "cheap", &json!({ "price": 5 })).await;
    // It keeps the next job waiting.
    let long = json!({
        "kind": "fine_tune", "epochs": 500, "batch_size": 4, "validation_fraction": 0.2,
    });
    let (status, long) = send(server.client.post(server.at("/admin/jobs")).json(&long)).await;
    assert_eq!(status, 202, "{long}");
    server.wait_for_state(&long["id"], &["running"]).await;

    let (status, declared) = declare(&server, "price", "number").await;
    assert_eq!(
        (status, &declared["built"]),
        (202, &json!(false)),
        "{declared}"
    );
    let (status, again) = declare(&server, "price", "number").await;
    assert_eq!((status, &again["job"]["id"]), (202, &declared["job"]["id"]));
    let filter = [("filter", "price < 10")];
    let list = || with_query(&server, Method::GET, "/images", &filter);
    let (status, problem) = send(list()).await;
    assert_eq!((status, &problem["code"]), (409, &json!("field_not_built")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("column 1") && detail.contains("'price'"),
        "{detail}"
    );

    let cancel = format!("/admin/jobs/{}/cancel", long["id"].as_str().unwrap());
    assert_eq!(server.ask(Method::POST, &cancel).await.0, 200);
    let built = server.wait_for_end(&declared["job"]["id"]).await;
    assert_eq!(
        (&built["kind"], &built["state"]),
        (&json!("build_field"), &json!("succeeded"))
    );
    assert_eq!(ids(&send(list()).await.1["images"]), ["cheap"]);
    let (status, again) = declare(&server, "price", "number").await;
    assert_eq!((status, &again["job"]), (200, &Value::Null));
    build(&server, "weight", "number").await;
}
