//! The order, similarity and relation of matches, by models with and without sketches and
//! thresholds. Models of random weights, so only an identical picture is known to be similar.

use std::fs;

use reqwest::{Method, StatusCode};
use scihcgrl::model::Thresholds;
use serde_json::{Value, json};

use crate::server::{self, SKETCH_BYTES, TestServer};

/// Posts JSON. Returns the status and the response.
async fn post(server: &TestServer, path: &str, body: &Value) -> (StatusCode, Value) {
    let answer = server.client.post(server.at(path)).json(body).send().await;
    let answer = answer.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

fn ids(found: &Value) -> Vec<&str> {
    let matches = found["matches"].as_array().unwrap().iter();
    matches.map(|found| found["id"].as_str().unwrap()).collect()
}

fn similarities(found: &Value) -> Vec<f64> {
    let matches = found["matches"].as_array().unwrap().iter();
    let similarities = matches.map(|found| found["similarity"].as_f64());
    similarities.collect::<Option<_>>().unwrap()
}

#[tokio::test]
async fn matches_are_ordered_by_similarity() {
    let server = TestServer::start().await;
    server.store(&["cat", "ship"], 8).await;
    let photo = fs::read(&server::samples("ship")[2]).unwrap();
    let search = async |query: &str| -> Value {
        let path = server.at(&format!("/search?limit=100&{query}"));
        let answer = server.client.post(path).body(photo.clone()).send().await;
        answer.unwrap().json().await.unwrap()
    };
    // At any distance.
    let found = search("").await;
    assert_eq!(found["total"], 16);
    assert_eq!(ids(&found).len(), 16);
    assert_eq!(found["query"]["order"], "similarity");
    assert_eq!(found["query"]["radius"], Value::Null);
    assert_eq!(found["query"]["min_similarity"], Value::Null);
    assert_eq!(found["complete"], true);
    assert_eq!(ids(&found)[0], "ship-2");
    let alike = similarities(&found);
    assert!(
        alike.is_sorted_by(|a, b| a >= b) && alike[0] > 0.999,
        "{alike:?}"
    );

    let near = search("order=distance").await;
    assert_eq!(near["query"]["order"], "distance");
    let distances = near["matches"].as_array().unwrap().iter();
    assert!(distances.is_sorted_by_key(|near| near["distance"].as_u64()));
    assert_eq!(similarities(&near).len(), 16);
    let few = search("candidates=1&radius=48").await;
    assert_eq!((&few["total"], ids(&few).len()), (&json!(16), 16));

    let least = f64::midpoint(alike[4], alike[5]);
    let like = search(&format!("min_similarity={least}")).await;
    assert_eq!(like["total"], 5);
    let shown = like["query"]["min_similarity"].as_f64().unwrap();
    assert!((shown - least).abs() < 1e-6, "{shown} for {least}");
    assert_eq!(ids(&like), ids(&found)[..5]);

    // A search by id uses the stored sketch. A search by code uses the sketch of the response to
    // /encode.
    let (_, by_id) = post(&server, "/search?limit=100", &json!({ "id": "ship-2" })).await;
    assert_eq!(by_id["matches"], found["matches"]);
    let (_, encoded) = post(&server, "/encode", &json!({ "id": "ship-2" })).await;
    let code = &encoded["codes"]["48"];
    let body = json!({ "code": code, "sketch": encoded["sketch"], "model": encoded["model"] });
    let (_, by_sketch) = post(&server, "/search?limit=100", &body).await;
    assert_eq!(by_sketch["matches"], found["matches"]);
    assert_eq!(by_sketch["query"]["sketch"], encoded["sketch"]);
    let (_, by_code) = post(&server, "/search?limit=100", &json!({ "code": code })).await;
    assert_eq!(by_code["query"]["order"], "distance");
    assert_eq!(by_code["matches"][0]["similarity"], Value::Null);

    for (query, body, code, words) in [
        ("candidates=0", &body, "invalid_parameter", "1 to 10000"),
        ("candidates=10001", &body, "invalid_parameter", "1 to 10000"),
        ("min_similarity=2", &body, "invalid_parameter", "-1 to 1"),
        (
            "min_similarity=much",
            &body,
            "invalid_parameter",
            "'much' is not a number",
        ),
        (
            "order=distance&min_similarity=0.5",
            &body,
            "invalid_parameter",
            "min_similarity needs order=similarity",
        ),
        (
            "order=age",
            &body,
            "invalid_parameter",
            "unknown variant `age`",
        ),
        (
            "order=similarity",
            &json!({ "code": code }),
            "no_sketch",
            "without `sketch` and `model`",
        ),
        (
            "",
            &json!({ "code": code, "sketch": encoded["sketch"] }),
            "invalid_json",
            "both `sketch` and `model` or neither",
        ),
        (
            "",
            &json!({ "code": code, "sketch": encoded["sketch"], "model": "0123456789ab" }),
            "other_model",
            "encode the image again",
        ),
        (
            "",
            &json!({ "code": code, "sketch": "AAAA", "model": encoded["model"] }),
            "invalid_sketch",
            "it has 3 bytes; sketches of model",
        ),
        (
            "",
            &json!({ "code": code, "sketch": "a+b/", "model": encoded["model"] }),
            "invalid_sketch",
            "base64url",
        ),
    ] {
        let (status, problem) = post(&server, &format!("/search?{query}"), body).await;
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (422, &json!(code)),
            "{query} {problem}"
        );
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn images_get_sketches_when_a_model_with_sketches_encodes_them() {
    let folder = tempfile::tempdir().unwrap();
    let another = server::second_model(folder.path());
    // A model without sketches.
    server::model_of_fixtures(folder.path());
    let server = TestServer::start_in(folder, &[]);
    server.store(&["cat"], 4).await;
    let by_id = json!({ "id": "cat-1" });
    let (_, found) = post(&server, "/search", &by_id).await;
    assert_eq!(
        (&found["total"], &found["query"]["order"]),
        (&json!(4), &json!("distance"))
    );
    assert_eq!(found["matches"][0]["similarity"], Value::Null);
    let (status, refused) = post(&server, "/search?order=similarity", &by_id).await;
    assert_eq!(
        (status.as_u16(), &refused["code"]),
        (422, &json!("no_sketch"))
    );

    let file = fs::read(another).unwrap();
    let upload = server.client.post(server.at("/admin/models")).body(file);
    let added: Value = upload.send().await.unwrap().json().await.unwrap();
    let task = json!({ "kind": "reencode", "model": added["id"] });
    let (_, job) = post(&server, "/admin/jobs", &task).await;
    assert_eq!(server.wait_for_end(&job["id"]).await["state"], "succeeded");
    let path = format!("/admin/models/{}/activate", added["id"].as_str().unwrap());
    server.ask(Method::POST, &path).await;
    server::eventually("the images have sketches", async || {
        let (_, found) = post(&server, "/search", &by_id).await;
        let alike = found["matches"][0]["similarity"].as_f64()?;
        assert_eq!(
            (ids(&found)[0], found["total"].as_u64()),
            ("cat-1", Some(4))
        );
        (alike > 0.999).then_some(())
    })
    .await;
    let (_, encoded) = post(&server, "/encode", &by_id).await;
    assert_eq!(
        encoded["sketch"].as_str().unwrap().len(),
        SKETCH_BYTES * 4 / 3
    );
}

#[tokio::test]
async fn the_thresholds_of_the_model_decide_what_is_copy_or_kin() {
    let by_id = json!({ "id": "ship-2" });
    let search = async |server: &TestServer| {
        server.store(&["cat", "ship"], 4).await;
        let (_, found) = post(server, "/search?limit=100", &by_id).await;
        found
    };
    let relations = |found: &Value| -> Vec<Value> {
        let matches = found["matches"].as_array().unwrap().iter();
        matches.map(|found| found["relation"].clone()).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    server::model_with_thresholds(folder.path(), None);
    let server = TestServer::start_in(folder, &[]);
    let found = search(&server).await;
    assert_eq!(relations(&found), vec![Value::Null; 8]);
    let (_, info) = server.ask(Method::GET, "/info").await;
    assert_eq!(info["thresholds"], Value::Null);

    // The same weights, with thresholds between the second and third match and at the fifth.
    let alike = similarities(&found);
    let thresholds = Thresholds {
        copy: f64::midpoint(alike[1], alike[2]) as f32,
        kin: Some(alike[4] as f32),
    };
    let folder = tempfile::tempdir().unwrap();
    server::model_with_thresholds(folder.path(), Some(thresholds));
    let server = TestServer::start_in(folder, &[]);
    let found = search(&server).await;
    let (copy, kin) = (json!("copy"), json!("kin"));
    let expected = [
        &copy,
        &copy,
        &kin,
        &kin,
        &kin,
        &Value::Null,
        &Value::Null,
        &Value::Null,
    ];
    assert_eq!(relations(&found).iter().collect::<Vec<_>>(), expected);
    let (_, info) = server.ask(Method::GET, "/info").await;
    let shown: Thresholds = serde_json::from_value(info["thresholds"].clone()).unwrap();
    assert_eq!(shown, thresholds);
    assert_eq!(info["model"]["thresholds"], info["thresholds"]);
    let (_, encoded) = post(&server, "/encode", &by_id).await;
    let by_code = json!({ "code": encoded["codes"]["48"] });
    let (_, by_code) = post(&server, "/search?limit=100", &by_code).await;
    assert_eq!(relations(&by_code), vec![Value::Null; 8]);

    // A model may have a threshold for copies only.
    let folder = tempfile::tempdir().unwrap();
    let copies = Thresholds {
        kin: None,
        ..thresholds
    };
    server::model_with_thresholds(folder.path(), Some(copies));
    let server = TestServer::start_in(folder, &[]);
    let found = search(&server).await;
    assert_eq!(relations(&found)[..3], [copy.clone(), copy, Value::Null]);

    let photo = server::samples("ship")[2].display().to_string();
    let search = ["search", &photo, "--url", &server.url, "--limit", "3"];
    let stdout = server::scihcgrl().args(search).output().unwrap();
    let stdout = String::from_utf8(stdout.stdout).unwrap();
    assert!(
        stdout.contains("  0  1.000  copy  ship  ship-2"),
        "{stdout}"
    );
    assert_eq!(stdout.matches("copy  ").count(), 2, "{stdout}");
}
