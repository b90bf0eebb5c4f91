//! Jobs that adapt the model to the gallery without labels: their measurements, their model, and
//! galleries that are too small.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::{create, gallery};
use crate::server::{self, TestServer};

const CLASSES: [&str; 8] = [
    "airplane", "bird", "cat", "deer", "dog", "horse", "ship", "truck",
];

async fn get(server: &TestServer, path: &str) -> Value {
    server.ask(Method::GET, path).await.1
}

/// A quick job.
fn quick() -> Value {
    json!({ "kind": "adapt", "images": 300, "epochs": 2, "activate": "always" })
}

#[tokio::test]
async fn a_job_adapts_the_model_to_the_gallery_and_activates_it() {
    let server = gallery(&CLASSES, 40).await;
    let job = create(&server, &quick()).await;
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let result = &job["result"];
    let metrics = &result["metrics"];
    assert_eq!(
        (&metrics["queries"], &metrics["training_images"]),
        (&json!(30), &json!(270))
    );
    println!("{metrics:#}");
    let figure = |when: &str, name: &str| metrics[when][name].as_f64().unwrap();
    for when in ["before", "after"] {
        for name in ["copies_first", "copies_first_ten", "agreement"] {
            assert!((0.0..=1.0).contains(&figure(when, name)), "{when} {name}");
        }
        // An unchanged copy is found by any model.
        assert_eq!(metrics[when]["copies"]["the same file"]["first_ten"], 1.0);
        // The gallery is labelled, so kin are measured too.
        let kin = metrics[when]["near"]["map_search"].as_f64().unwrap();
        assert!((0.0..1.0).contains(&kin), "{metrics}");
    }
    // The first model and its sketches are random. Even such a backbone can be improved.
    assert!(figure("after", "agreement") > figure("before", "agreement"));
    let activated = server.wait_for_end(&result["activation"]).await;
    assert_eq!(activated["state"], "succeeded", "{activated}");
    let info = get(&server, "/info").await;
    assert_eq!(info["model_id"], result["model"]);
    let models = get(&server, "/admin/models").await;
    let model = &models["models"][0];
    let card = models["models"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == result["model"]);
    let card = &card.unwrap_or(model)["card"];
    assert!(card["thresholds"]["copy"].as_f64().unwrap() > 0.0, "{card}");
    assert_eq!(card["classes"], json!([]));
    // A search with a stored image finds it first.
    let photo = fs::read(&server::samples("ship")[2]).unwrap();
    let found = server
        .client
        .post(server.at("/search?limit=1"))
        .body(photo)
        .send()
        .await;
    let found: Value = found.unwrap().json().await.unwrap();
    assert_eq!(found["matches"][0]["similarity"], 1.0, "{found}");
}

async fn failed(server: &TestServer, body: &Value) -> String {
    let job = create(server, body).await;
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "failed", "{job}");
    job["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_gallery_that_is_too_small_is_refused_and_unchanged() {
    let server = gallery(&["cat"], 3).await;
    let words = failed(&server, &quick()).await;
    assert!(words.contains("adaptation needs at least 256"), "{words}");
    let answer = server
        .client
        .post(server.at("/admin/jobs"))
        .json(&json!({ "kind": "adapt", "images": 3 }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 422);
    let problem: Value = answer.json().await.unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("images is 3; it must be 256 to 50000"),
        "{detail}"
    );
    assert_eq!(
        get(&server, "/images?limit=10").await["images"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_gallery_without_originals_is_not_learned_from() {
    let server = gallery(&CLASSES, 40).await;
    let originals = server.folder.path().join("data/originals");
    fs::remove_dir_all(&originals).unwrap();
    fs::create_dir(&originals).unwrap();
    let words = failed(&server, &quick()).await;
    assert!(words.contains("0 of 300 images can be read"), "{words}");
    assert_eq!(get(&server, "/info").await["index"]["images"], 320);
}
