//! Jobs of replicas and workers: taken over from a dead worker, cancelled and followed through any
//! replica, and encoding shared by several workers.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    harness::cluster::Cluster,
    harness::nats::signal,
    server::{self, TestServer, original_files, samples},
};

const NO_JOBS: [&str; 1] = ["--no-jobs"];

async fn create(server: &TestServer, body: &Value, key: Option<&str>) -> (u16, Value) {
    let mut request = server.client.post(server.at("/admin/jobs")).json(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Returns all events of a job: name and data.
async fn events(server: &TestServer, job: &Value) -> Vec<(String, Value)> {
    let path = format!("/admin/jobs/{}/events", job["id"].as_str().unwrap());
    let events_seen = server.client.get(server.at(&path)).send().await.unwrap();
    let events_seen = events_seen.text().await.unwrap();
    let (mut events, mut name) = (Vec::new(), String::new());
    for line in events_seen.lines() {
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            events.push((name.clone(), serde_json::from_str(data).unwrap()));
        }
    }
    events
}

/// Returns the worker that is training, if any.
fn training_worker(workers: &[TestServer]) -> Option<usize> {
    let is_training = |worker: &TestServer| {
        let pattern = format!("fine-tune.*{}", worker.folder.path().display());
        let found = Command::new("pgrep")
            .args(["-f", &pattern])
            .output()
            .unwrap();
        !found.stdout.is_empty()
    };
    workers.iter().position(is_training)
}

fn at(server: &TestServer, job: &Value) -> String {
    server.at(&format!("/admin/jobs/{}", job["id"].as_str().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_finishes_once_although_its_workers_are_killed() {
    let (harms, epochs) = server::times((2, 16), (4, 30));
    let cluster = Cluster::empty();
    let first = cluster.one_more("serve", &NO_JOBS);
    let second = cluster.one_more("serve", &NO_JOBS);
    let mut workers: Vec<TestServer> = (0..2).map(|_| cluster.one_more("worker", &[])).collect();
    first.store(&["cat", "dog", "ship"], 12).await;
    let body = json!({
        "kind": "fine_tune", "warm_up_epochs": 1, "epochs": epochs, "batch_size": 16, "validation_fraction": 0.2,
    });
    let (status, job) = create(&first, &body, Some("once")).await;
    assert_eq!(status, 202, "{job}");
    let (status, same) = create(&second, &body, Some("once")).await;
    assert_eq!((status, &same["id"]), (200, &job["id"]));
    let mut epochs = Vec::new();
    // All but one are killed; that one is stopped for so long that another has its job when it
    // wakes up.
    for harm in 1..=harms {
        // Wait for a handover since the last kill.
        let began = SystemTime::now();
        server::eventually("a handover is written", async || {
            let files = original_files(&cluster.places()[0]);
            let state = files.iter().find(|file| file.ends_with("state.tar"))?;
            let written = fs::metadata(state).ok()?.modified().ok()?;
            (written > began).then_some(())
        })
        .await;
        let worker =
            server::eventually("a worker trains", async || training_worker(&workers)).await;
        let now: Value = second
            .client
            .get(at(&second, &job))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(now["state"], "running", "{now}");
        epochs.push(now["progress"]["epoch"].as_u64().unwrap());
        let killed = Instant::now();
        let harmed = workers.remove(worker);
        let stopped = if harm == harms - 1 {
            signal(harmed.process(), "-STOP");
            Some(harmed)
        } else {
            harmed.kill();
            None
        };
        workers.push(cluster.one_more("worker", &[]));
        server::eventually("another worker takes the job over", async || {
            let (_, now) = first
                .ask(
                    Method::GET,
                    &format!("/admin/jobs/{}", job["id"].as_str().unwrap()),
                )
                .await;
            (now["resumed"] == harm).then_some(())
        })
        .await;
        let resumed = killed.elapsed();
        if let Some(stopped) = stopped {
            signal(stopped.process(), "-CONT");
            workers.insert(0, stopped);
        }
        println!(
            "{} at epoch {}, resumed after {resumed:.1?}",
            if harm == harms - 1 {
                "stopped"
            } else {
                "killed"
            },
            epochs[harm - 1]
        );
    }
    let job = second.wait_for_end(&job["id"]).await;
    assert_eq!(
        (&job["state"], &job["resumed"]),
        (&json!("succeeded"), &json!(harms)),
        "{job}"
    );
    let events_seen = events(&second, &job).await;
    let count = |name: &str| {
        events_seen
            .iter()
            .filter(|(event, _)| event == name)
            .count()
    };
    assert_eq!(
        (count("queued"), count("running"), count("succeeded")),
        (1, harms + 1, 1),
        "{events_seen:?}"
    );
    assert_eq!(events_seen, events(&first, &job).await);
    // No epoch is trained twice, except the one that was cut off and one that was not handed over
    // yet.
    let takeovers: Vec<usize> = (0..events_seen.len())
        .filter(|number| events_seen[*number].0 == "running")
        .collect();
    for (number, handed_over) in takeovers[1..].iter().zip(&epochs) {
        let then = events_seen[*number..]
            .iter()
            .find(|(_, data)| data["stage"] == "joint");
        let epoch = then.unwrap().1["epoch"].as_u64().unwrap();
        assert!(
            epoch + 1 >= *handed_over,
            "epoch {epoch} after {handed_over}"
        );
    }
    // The reported epoch may be one behind the epoch that was handed over.
    let continued = epochs.windows(2).all(|two| two[1] + 1 >= two[0]);
    assert!(
        continued && (harms < 3 || epochs[2] > epochs[0]),
        "{epochs:?}"
    );
    for replica in [&first, &second] {
        let (_, models) = replica.ask(Method::GET, "/admin/models").await;
        let models = models["models"].as_array().unwrap();
        assert!(
            models
                .iter()
                .any(|model| model["id"] == job["result"]["model"]),
            "{models:?}"
        );
    }
    let left = original_files(&cluster.places()[0]);
    assert!(
        !left.iter().any(|file| file.ends_with("state.tar")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_wait_for_workers_and_are_cancelled_through_any_replica() {
    let cluster = Cluster::empty();
    let first = cluster.one_more("serve", &NO_JOBS);
    let second = cluster.one_more("serve", &NO_JOBS);
    first.store(&["cat", "dog"], 10).await;
    let body = json!({ "kind": "fine_tune", "warm_up_epochs": 1, "epochs": 500, "batch_size": 8 });
    let (_, under_way) = create(&first, &body, None).await;
    let cancel = async |server: &TestServer, job: &Value| {
        let path = format!("/admin/jobs/{}/cancel", job["id"].as_str().unwrap());
        server.ask(Method::POST, &path).await.1
    };
    // There is no worker. Every replica knows a job as soon as one replica has responded that it is
    // created.
    for _ in 0..server::times(10, 100) {
        let (_, waits) = create(&second, &body, None).await;
        let cancelled = cancel(&first, &waits).await;
        assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
        assert_eq!(
            second.wait_for_end(&waits["id"]).await["state"],
            "cancelled"
        );
    }
    let worker = cluster.one_more("worker", &[]);
    assert_eq!(worker.ask(Method::GET, "/images").await.0, 404);
    server::eventually("the worker knows the gallery", async || {
        let ready = worker.ask(Method::GET, "/readyz").await.0 == 200;
        (ready && worker.metric("scihcgrl_images").await == Some(20.0)).then_some(())
    })
    .await;
    let now = second.wait_for_state(&under_way["id"], &["running"]).await;
    assert_eq!(now["resumed"], 0);
    let began = Instant::now();
    cancel(&second, &under_way).await;
    let job = first.wait_for_end(&under_way["id"]).await;
    assert_eq!(job["state"], "cancelled", "{job}");
    println!(
        "ended {:?} after it was cancelled through another replica",
        began.elapsed()
    );
    let events_seen = events(&second, &job).await;
    assert_eq!(events_seen.last().unwrap().0, "cancelled");
    let path = format!("/admin/jobs/{}", job["id"].as_str().unwrap());
    assert_eq!(first.ask(Method::DELETE, &path).await.0, 204);
    server::eventually("no replica has the job", async || {
        (second.ask(Method::GET, &path).await.0 == 404).then_some(())
    })
    .await;
    // A worker that is stopped releases its job at once.
    let mut worker = worker;
    let (_, job) = create(&first, &body, None).await;
    first.wait_for_state(&job["id"], &["running"]).await;
    assert!(worker.terminate());
    let began = Instant::now();
    let next = cluster.one_more("worker", &[]);
    loop {
        let (_, now) = first
            .ask(
                Method::GET,
                &format!("/admin/jobs/{}", job["id"].as_str().unwrap()),
            )
            .await;
        if now["resumed"] == 1 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{now}");
        sleep(Duration::from_millis(50)).await;
    }
    cancel(&first, &job).await;
    first.wait_for_end(&job["id"]).await;
    drop(next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gallery_is_encoded_by_several_workers_although_one_dies() {
    const IMAGES: usize = 1700;
    let mut cluster = Cluster::empty();
    let first = cluster.one_more("serve", &NO_JOBS);
    let photos: Vec<Vec<u8>> = ["cat", "dog", "ship"]
        .iter()
        .flat_map(|class| samples(class))
        .map(|file| fs::read(file).unwrap())
        .collect();
    let stored = (0..IMAGES).map(|number| {
        let url = first.at(&format!("/images/image-{number}"));
        let put = first
            .client
            .put(url)
            .body(photos[number % photos.len()].clone());
        async move { put.send().await.unwrap().error_for_status().unwrap() }
    });
    use futures_util::{StreamExt, stream};
    stream::iter(stored)
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await;
    let mut workers: Vec<TestServer> = (0..3).map(|_| cluster.one_more("worker", &[])).collect();
    let file = server::second_model(first.folder.path());
    let upload = first
        .client
        .post(first.at("/admin/models"))
        .body(fs::read(file).unwrap());
    let added: Value = upload.send().await.unwrap().json().await.unwrap();
    let activate = format!("/admin/models/{}/activate", added["id"].as_str().unwrap());
    let (status, activated) = first.ask(Method::POST, &activate).await;
    assert_eq!(status, 202, "{activated}");
    let job = &activated["job"];
    // Wait until two workers have encoded a range each, then kill one at its next.
    let ranges = async |worker: &TestServer| {
        let ranges = worker.metric("scihcgrl_job_ranges_encoded_total").await;
        ranges.unwrap()
    };
    let dying = server::eventually("two workers encode", async || {
        let mut done = Vec::new();
        for (number, worker) in workers.iter().enumerate() {
            if ranges(worker).await > 0.0 {
                done.push(number);
            }
        }
        (done.len() > 1).then(|| done[0])
    })
    .await;
    workers.remove(dying).kill();
    // Kill a NATS server too, so that a record or claim needs another leader.
    let leader = cluster.nats.leader().await.unwrap_or(0);
    cluster.nats.kill(leader);
    sleep(Duration::from_secs(4)).await;
    cluster.nats.restart(leader);
    let job = first.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["result"]["uncoded_count"], 0);
    assert_eq!(job["result"]["uncoded_total"], 0, "{job}");
    let mut left = Vec::new();
    for worker in &workers {
        left.push(ranges(worker).await);
    }
    println!(
        "{left:?} ranges by the workers left, {} images, resumed {}",
        job["result"]["images"], job["resumed"]
    );
    let (_, info) = first.ask(Method::GET, "/info").await;
    assert_eq!(info["model_id"], added["id"]);
    assert_eq!(info["standby"]["missing"], 0);
}
