//! Fine-tuning jobs on small real pictures: success, failure, queueing and cancelling.
//!
//! - `adapt`: jobs that adapt the model without labels
//! - `archive`: jobs with an archive of pictures
//! - `kills`: killed services and training processes
//! - `learned`: the codes after a job

mod adapt;
mod archive;
mod kills;
mod learned;

use std::{fs, path::Path, process::Command};

use crate::server::{self, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

const CLASSES: [&str; 4] = ["cat", "dog", "ship", "truck"];

/// Starts a service with this many images of each class.
async fn gallery(classes: &[&str], each: usize) -> TestServer {
    let server = TestServer::start().await;
    server.store(classes, each).await;
    server
}

/// A quick job: one epoch of each kind on few images.
fn quick(more: Value) -> Value {
    let mut body = json!({
        "kind": "fine_tune", "warm_up_epochs": 1, "epochs": 1, "batch_size": 16, "validation_fraction": 0.2,
    });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

async fn create(server: &TestServer, body: &Value) -> Value {
    let answer = server
        .client
        .post(server.at("/admin/jobs"))
        .json(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202, "{body}");
    answer.json().await.unwrap()
}

fn path(job: &Value) -> String {
    format!("/admin/jobs/{}", job["id"].as_str().unwrap())
}

/// Returns the training processes of a service.
fn learners(folder: &Path) -> Vec<String> {
    let pattern = format!("fine-tune.*{}", folder.display());
    let found = Command::new("pgrep")
        .args(["-f", &pattern])
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    found.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_job_learns_new_classes_and_activates_its_model() {
    let server = gallery(&CLASSES, 12).await;
    let body = quick(json!({ "labels": ["ship", "truck"], "replay": 0.5, "activate": "always" }));
    let job = create(&server, &body).await;
    let request = server
        .client
        .get(server.at(&format!("{}/events", path(&job))));
    let events = request.send().await.unwrap().text().await.unwrap();
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let progress: Vec<Value> = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let has_value = |name: &str| progress.iter().any(|event| !event[name].is_null());
    for name in [
        "stage",
        "loss",
        "reward",
        "map",
        "images_per_second",
        "eta_seconds",
    ] {
        assert!(has_value(name), "{name}: {events}");
    }
    let result = &job["result"];
    for when in ["before", "after"] {
        for length in ["24", "32", "48"] {
            let map = result["metrics"][when]["all"][length]["map"].as_f64();
            assert!(map.is_some_and(|map| map > 0.0 && map <= 1.0), "{job}");
        }
    }
    // The random model has the classes a, b and c.
    let (_, model) = server
        .ask(
            Method::GET,
            &format!("/admin/models/{}", result["model"].as_str().unwrap()),
        )
        .await;
    assert_eq!(model["parent"], result["parent"]);
    let classes = model["card"]["classes"].as_array().unwrap();
    assert_eq!(
        classes,
        json!(["ship", "truck", "a", "b", "c"]).as_array().unwrap()
    );
    let (_, parent) = server
        .ask(
            Method::GET,
            &format!("/admin/models/{}", result["parent"].as_str().unwrap()),
        )
        .await;
    assert_eq!(
        model["card"]["centers"]["48"].as_array().unwrap()[2..],
        parent["card"]["centers"]["48"].as_array().unwrap()[..]
    );
    let activation = server.wait_for_end(&result["activation"]).await;
    assert_eq!(activation["state"], "succeeded", "{activation}");
    let (_, info) = server.ask(Method::GET, "/info").await;
    assert_eq!(info["model_id"], result["model"]);
}

#[tokio::test]
async fn a_job_learns_only_from_images_that_pass_its_filter() {
    let server = gallery(&CLASSES[..3], 6).await;
    // Also the images to replay must pass, so nothing of the class of ships is learned.
    let body = quick(json!({
        "labels": ["cat", "dog"], "filter": r#"labels != "ship""#, "replay": 100, "epochs": 0, "train_backbone": false,
    }));
    let job = create(&server, &body).await;
    assert_eq!(job["filter"], r#"labels != "ship""#);
    let folder = server
        .folder
        .path()
        .join("data/jobs")
        .join(job["id"].as_str().unwrap());
    let listed = server::eventually("the images are listed", async || {
        fs::read_to_string(folder.join("images.jsonl")).ok()
    })
    .await;
    let listed: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(listed.len(), 12);
    assert!(
        listed
            .iter()
            .all(|image| image["labels"] != json!(["ship"]))
    );
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");

    let none = quick(json!({ "labels": ["cat"], "filter": r#"labels = "ship""# }));
    let job = create(&server, &none).await;
    let job = server.wait_for_end(&job["id"]).await;
    let error = job["error"].as_str().unwrap();
    assert!(
        error.contains("no image that passes the filter has the label 'cat'"),
        "{error}"
    );
}

/// The model for photographs has as many classes.
#[tokio::test]
async fn a_model_of_the_most_classes_can_learn_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    server::model_of_most_classes(folder.path());
    let server = TestServer::start_in(folder, &[]);
    server.store(&CLASSES[..2], 6).await;
    let job = create(&server, &quick(json!({}))).await;
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let path = format!("/admin/models/{}", job["result"]["model"].as_str().unwrap());
    let (_, model) = server.ask(Method::GET, &path).await;
    let classes = model["card"]["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 1000);
    assert_eq!(
        classes[..3],
        [json!("cat"), json!("dog"), json!("class-0000")]
    );
}

#[tokio::test]
async fn a_job_that_cannot_learn_fails_with_the_reason() {
    let server = gallery(&CLASSES[..1], 6).await;
    let error_of = |job: Value| job["error"].as_str().unwrap_or_default().to_owned();
    let failed = async |body: Value| {
        let job = create(&server, &quick(body)).await;
        let job = server.wait_for_end(&job["id"]).await;
        assert_eq!(job["state"], "failed", "{job}");
        error_of(job)
    };
    let one_class = failed(json!({})).await;
    assert!(
        one_class.contains("'cat' is the only class of the images; at least two are needed"),
        "{one_class}"
    );
    let none = failed(json!({ "labels": ["zebra"] })).await;
    assert!(
        none.contains("no image of the gallery has the label 'zebra'; label images first"),
        "{none}"
    );
    server.store(&CLASSES[1..2], 6).await;
    let absurd = failed(json!({ "learning_rate": 10.0, "epochs": 8, "batch_size": 2 })).await;
    assert!(
        absurd.contains("a lower learning rate may help"),
        "{absurd}"
    );
    let lengths = failed(json!({ "lengths": [24] })).await;
    assert!(
        lengths.contains("has heads for 24, 32, 48 bits"),
        "{lengths}"
    );
    println!("{one_class}\n{none}\n{absurd}\n{lengths}");

    for (body, words) in [
        (
            json!({ "learning_rate": -1 }),
            "learning_rate is -1; it must be above 0 and at most 10",
        ),
        (
            json!({ "epochs": 0, "warm_up_epochs": 0 }),
            "at least 1 together",
        ),
        (
            json!({ "epochs": 501 }),
            "epochs is 501; it must be 0 to 500",
        ),
        (
            json!({ "warm_up_epochs": u64::MAX, "train_backbone": false }),
            "it must be 0 to 500",
        ),
        (
            json!({ "per_class": 1_000_001 }),
            "per_class is 1000001; it must be 2 to 1000000",
        ),
        (
            json!({ "seed": 1u64 << 53 }),
            "it must be 0 to 9007199254740991",
        ),
        (json!({ "rate": 1 }), "unknown field `rate`"),
        (
            json!({ "labels": ["cat", "x".repeat(256)] }),
            "256 characters; a label has 1 to 255",
        ),
        (json!({ "activate": "soon" }), "unknown variant `soon`"),
        (json!({ "kind": "learn" }), "unknown variant `learn`"),
        (
            json!({ "model": "0123456789ab" }),
            "there is no model '0123456789ab'",
        ),
    ] {
        let answer = server
            .client
            .post(server.at("/admin/jobs"))
            .json(&quick(body))
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            [404, 422].contains(&status) && detail.contains(words),
            "{problem}"
        );
    }

    // An unreadable original is left out and reported.
    let folder = server.folder.path().join("data/originals");
    let broken = server::original_files(&folder).swap_remove(3);
    fs::write(
        &broken,
        vec![0; fs::metadata(&broken).unwrap().len() as usize],
    )
    .unwrap();
    let gone = server::original_files(&folder).swap_remove(5);
    fs::remove_file(&gone).unwrap();
    let job = create(&server, &quick(json!({}))).await;
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(
        (&job["state"], &job["result"]["skipped_count"]),
        (&json!("succeeded"), &json!(2)),
        "{job}"
    );
    println!("{}", job["result"]["skipped"]);
}

#[tokio::test]
async fn jobs_run_one_by_one_and_can_be_cancelled() {
    let server = gallery(&CLASSES[..2], 10).await;
    let long = quick(json!({ "epochs": 500 }));
    let first = create(&server, &long).await;
    let plain = create(&server, &quick(json!({ "seed": 1 }))).await;
    let urgent = create(&server, &quick(json!({ "seed": 2, "priority": 5 }))).await;
    server.wait_for_state(&first["id"], &["running"]).await;
    // Wait until it trains.
    server::eventually("both networks are trained", async || {
        let (_, job) = server.ask(Method::GET, &path(&first)).await;
        (job["progress"]["stage"] == "joint").then_some(())
    })
    .await;
    assert_eq!(learners(server.folder.path()).len(), 1);
    for waiting in [&plain, &urgent] {
        assert_eq!(
            server
                .wait_for_state(&waiting["id"], &["queued", "running"])
                .await["state"],
            "queued"
        );
    }
    let (status, refused) = server.ask(Method::DELETE, &path(&first)).await;
    assert_eq!(
        (status.as_u16(), &refused["code"]),
        (409, &json!("job_not_over"))
    );
    let started = std::time::Instant::now();
    server
        .ask(Method::POST, &format!("{}/cancel", path(&first)))
        .await;
    let cancelled = server.wait_for_end(&first["id"]).await;
    println!(
        "a running job ended {:?} after it was cancelled",
        started.elapsed()
    );
    assert_eq!(cancelled["state"], "cancelled");
    let folder = server
        .folder
        .path()
        .join("data/jobs")
        .join(first["id"].as_str().unwrap());
    server::eventually("the job's folder is removed", async || {
        (!folder.exists()).then_some(())
    })
    .await;
    // The urgent job runs first; a queued one is cancelled at once.
    server.wait_for_state(&urgent["id"], &["running"]).await;
    let (_, stopped) = server
        .ask(Method::POST, &format!("{}/cancel", path(&plain)))
        .await;
    assert_eq!(stopped["state"], "cancelled");
    assert_eq!(
        server.wait_for_end(&urgent["id"]).await["state"],
        "succeeded"
    );
    assert!(learners(server.folder.path()).is_empty());

    // The same request creates one job; another one under its key is refused.
    let again = async |body: &Value| {
        let ask = server
            .client
            .post(server.at("/admin/jobs"))
            .header("idempotency-key", "nightly");
        let answer = ask.json(body).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (status, made) = again(&long).await;
    assert_eq!(status, 202);
    let (status, same) = again(&long).await;
    assert_eq!((status, &same["id"]), (200, &made["id"]));
    let (status, other) = again(&quick(json!({}))).await;
    assert_eq!(
        (status, &other["code"]),
        (409, &json!("idempotency_key_reused"))
    );
    server
        .ask(Method::POST, &format!("{}/cancel", path(&made)))
        .await;
    server.wait_for_end(&made["id"]).await;
    let (_, page) = server.ask(Method::GET, "/admin/jobs?limit=2").await;
    assert_eq!(page["jobs"][0]["id"], made["id"]);
    let (_, rest) = server
        .ask(
            Method::GET,
            &format!("/admin/jobs?before={}", page["next"].as_str().unwrap()),
        )
        .await;
    assert_eq!(rest["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(server.ask(Method::DELETE, &path(&made)).await.0, 204);
    assert_eq!(server.ask(Method::GET, &path(&made)).await.0, 404);
}
