//! Replaces the model on replicas under searches and writes. At one position, all replicas search
//! with one model.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    ANSWER_TIMEOUT, POSITION,
    harness::cluster::Cluster,
    server::{self, samples},
};

/// Searches at one replica until `stop`. Returns the position and the model of each response.
async fn searched(url: String, stop: Arc<AtomicBool>) -> Vec<(u64, String)> {
    let client = server::client().timeout(ANSWER_TIMEOUT).build().unwrap();
    let photo = fs::read(&samples("cat")[0]).unwrap();
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let search = client
            .post(format!("{url}/search?radius=4"))
            .body(photo.clone());
        let Ok(answer) = search.send().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        // A restarted replica has another address.
        if answer.status() != 200 {
            continue;
        }
        let position = answer.headers().get(POSITION).cloned();
        let found: Value = answer.json().await.unwrap();
        if let Some(position) = position {
            let model = found["query"]["model"].as_str().unwrap().to_owned();
            answers.push((position.to_str().unwrap().parse().unwrap(), model));
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_replicas_change_models_at_one_position_of_the_log() {
    let mut cluster = Cluster::start().await;
    cluster.replicas[0].store(&["cat", "ship"], 30).await;
    cluster.settle().await;
    let first = &cluster.replicas[0];
    let old = first.ask(Method::GET, "/info").await.1["model_id"].clone();
    let file = fs::read(server::second_model(first.folder.path())).unwrap();
    // NATS servers that have just elected a leader may refuse it, so the caller retries.
    let added: Value = server::eventually("the model is uploaded", async || {
        let upload = first.client.post(first.at("/admin/models"));
        let answer = upload.body(file.clone()).send().await.unwrap();
        match answer.status().as_u16() {
            503 => None,
            _ => Some(answer.error_for_status().unwrap().json().await.unwrap()),
        }
    })
    .await;
    let new = added["id"].clone();
    let stop = Arc::new(AtomicBool::new(false));
    let searchers: Vec<_> = (cluster.urls.read().unwrap().iter())
        .map(|url| tokio::spawn(searched(url.clone(), stop.clone())))
        .collect();
    let writer = {
        let (url, client, stop) = (
            cluster.replicas[1].url.clone(),
            server::client().build().unwrap(),
            stop.clone(),
        );
        tokio::spawn(async move {
            let photo = fs::read(&samples("dog")[0]).unwrap();
            let mut stored = 0;
            while !stop.load(Ordering::Relaxed) {
                let put = client
                    .put(format!("{url}/images/dog-{stored}?label=dog"))
                    .body(photo.clone());
                let status = put.send().await.unwrap().status();
                assert!(status.is_success() || status == 503, "{status}");
                stored += usize::from(status.is_success());
                sleep(Duration::from_millis(20)).await;
            }
            stored
        })
    };
    let activate = |id: &Value| format!("/admin/models/{}/activate", id.as_str().unwrap());
    let (status, activated) = first.ask(Method::POST, &activate(&new)).await;
    assert_eq!(status, 202, "{activated}");
    // One replica dies and restarts while the gallery is encoded.
    let folder = cluster.kill(2);
    cluster.restart(2, folder);
    let first = &cluster.replicas[0];
    let job = first.wait_for_end(&activated["job"]["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    sleep(Duration::from_millis(500)).await;
    // The old model is activated again, through another replica.
    let second = &cluster.replicas[1];
    server::eventually("the new model is active here too", async || {
        (second.ask(Method::GET, "/info").await.1["model_id"] == new).then_some(())
    })
    .await;
    let (status, back) = second.ask(Method::POST, &activate(&old)).await;
    assert_eq!(
        (status.as_u16(), &back["state"]),
        (200, &json!("active")),
        "{back}"
    );
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let stored = writer.await.unwrap();
    let mut by_position = BTreeMap::<u64, String>::new();
    let mut count = 0;
    for searcher in searchers {
        for (position, model) in searcher.await.unwrap() {
            count += 1;
            let first = by_position.entry(position).or_insert_with(|| model.clone());
            assert_eq!(*first, model, "{position}");
        }
    }
    let models: Vec<&String> = by_position.values().collect();
    let changes = models.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(changes, 2, "the model did not change exactly twice");
    cluster.settle().await;
    for replica in &cluster.replicas {
        let (_, info) = replica.ask(Method::GET, "/info").await;
        assert_eq!((&info["model_id"], &info["standby"]["model"]), (&old, &new));
        assert_eq!(info["standby"]["missing"], 0);
    }
    println!(
        "{count} searches at {} positions, {stored} images stored at the same time",
        by_position.len()
    );
}
