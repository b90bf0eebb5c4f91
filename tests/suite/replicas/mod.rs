//! Three replicas of a gallery on three NATS servers. This file kills, stops and cuts off replicas
//! and servers under writes, and starts new replicas.
//!
//! - `harness`: replicas, NATS servers, random writers and their history
//! - `conditions`, `ids`, `searches`, `duplicates`, `filters`: replicas agree on writes and answers
//! - `models`, `jobs`, `idempotency_keys`: changing models, workers, one job for repeated requests
//! - `existing_gallery`, `mixed_versions`: a gallery from before the log, an upgrade in steps
//! - `disconnected_callers`, `full_disk`, `lost_writes`: other failures

mod conditions;
mod disconnected_callers;
mod duplicates;
mod existing_gallery;
mod filters;
mod full_disk;
mod harness;
mod idempotency_keys;
mod ids;
mod jobs;
mod lost_writes;
mod mixed_versions;
mod models;
mod searches;

use std::{
    collections::BTreeMap,
    fs,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::server::{self, TestServer, samples};
use harness::{
    caller::Caller,
    cluster::{Cluster, folder},
    history::History,
    nats::{Proxy, signal},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

const REPLICAS: usize = 3;
/// Maximum time that a caller waits for a response.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const POSITION: &str = "scihcgrl-position";
const AFTER: &str = "scihcgrl-after";

/// Returns all images of a replica with their first labels.
async fn gallery(replica: &TestServer) -> BTreeMap<String, String> {
    let (mut gallery, mut after) = (BTreeMap::new(), String::new());
    loop {
        let (status, page) = replica
            .ask(Method::GET, &format!("/images?limit=1000{after}"))
            .await;
        assert_eq!(status, 200, "{page}");
        for image in page["images"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            gallery.insert(text(&image["id"]), text(&image["labels"][0]));
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return gallery,
        }
    }
}

/// A failure that a round causes.
#[derive(Clone, Copy, Debug)]
enum Failure {
    KillReplica,
    KillNode,
    KillLeader,
    StopReplica,
    StopNode,
    CutOff,
}

const FAILURES: [Failure; 6] = [
    Failure::KillReplica,
    Failure::KillLeader,
    Failure::CutOff,
    Failure::StopNode,
    Failure::StopReplica,
    Failure::KillNode,
];

async fn stopped(process: &Child, seconds: f64) {
    signal(process, "-STOP");
    sleep(Duration::from_secs_f64(seconds)).await;
    signal(process, "-CONT");
}

impl Cluster {
    async fn inflict(&mut self, failure: Failure, random: &mut ChaCha8Rng) {
        let replica = random.random_range(0..REPLICAS);
        let node = random.random_range(0..self.nats.count());
        let seconds = random.random_range(0.2..4.0);
        let pause = Duration::from_secs_f64(seconds);
        match failure {
            Failure::KillReplica => {
                let folder = self.kill(replica);
                sleep(pause).await;
                self.restart(replica, folder);
            }
            Failure::KillNode | Failure::KillLeader => {
                let node = match failure {
                    Failure::KillLeader => self.nats.leader().await.unwrap_or(node),
                    _ => node,
                };
                self.nats.kill(node);
                sleep(pause).await;
                self.nats.restart(node);
            }
            Failure::StopReplica => stopped(self.replicas[replica].process(), seconds).await,
            Failure::StopNode => stopped(self.nats.process(node), seconds).await,
            Failure::CutOff => {
                self.proxies[replica].cut(true);
                sleep(pause + Duration::from_secs(3)).await;
                self.proxies[replica].cut(false);
            }
        }
        println!("{failure:?} for {seconds:.1} s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_whatever_fails() {
    let rounds = server::times(FAILURES.len(), 5 * FAILURES.len());
    let mut cluster = Cluster::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..REPLICAS)
        .map(|number| {
            let caller = Caller::new(number, cluster.urls.clone());
            tokio::spawn(caller.run(stop.clone()))
        })
        .collect();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for round in 0..rounds {
        sleep(Duration::from_millis(random.random_range(500..2000))).await;
        cluster
            .inflict(FAILURES[round % FAILURES.len()], &mut random)
            .await;
    }
    sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut histories, mut done, mut reads) = (History::default(), 0, 0);
    for caller in callers {
        let caller = caller.await.unwrap();
        (done, reads) = (done + caller.done, reads + caller.reads);
        // No two callers write to one image.
        histories.0.extend(caller.history.0);
    }
    let head = cluster.settle().await;
    let mut galleries = Vec::new();
    for replica in &cluster.replicas {
        galleries.push(gallery(replica).await);
    }
    assert!(galleries.iter().all(|gallery| *gallery == galleries[0]));
    let faults = histories.faults(&galleries[0]);
    assert!(faults.is_empty(), "{faults:#?}");
    // Every replica serves every original, wherever it was uploaded.
    for (number, id) in galleries[0]
        .keys()
        .enumerate()
        .filter(|(number, _)| number % 7 == 0)
    {
        let content = format!("/images/{id}/content");
        let content = cluster.replicas[number % REPLICAS].at(&content);
        let content = cluster.replicas[0]
            .client
            .get(content)
            .send()
            .await
            .unwrap();
        assert_eq!(content.status(), 200, "{id}");
    }
    let acts: usize = histories.0.values().map(Vec::len).sum();
    println!(
        "{rounds} rounds: {acts} writes, {done} acknowledged, {} images left, {reads} reads of what was written elsewhere, position {head}",
        galleries[0].len()
    );
    assert!(done > rounds * 5 && reads > rounds, "{done} {reads}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_answers_searches_and_refuses_writes() {
    let cluster = Cluster::start().await;
    let [first, second, _] = &cluster.replicas[..] else {
        panic!()
    };
    first.store(&["cat"], 5).await;
    cluster.settle().await;
    let photo = fs::read(&samples("cat")[0]).unwrap();
    cluster.proxies[0].cut(true);
    second.store(&["ship"], 5).await;
    // The replica notices after a while. Until then a write waits and fails.
    server::eventually("the cut-off replica is not ready", async || {
        let put = first
            .client
            .put(first.at("/images/late"))
            .body(photo.clone());
        let answer = put.send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "log_unavailable", "{problem}");
        (first.ask(Method::GET, "/readyz").await.0 == 503).then_some(())
    })
    .await;
    let search = |server: &TestServer| {
        server
            .client
            .post(server.at("/search?radius=0"))
            .body(photo.clone())
    };
    let found = search(first).send().await.unwrap();
    assert_eq!(found.status(), 200);
    let found: Value = found.json().await.unwrap();
    assert_eq!(found["matches"][0]["id"], "cat-0");
    assert_eq!(first.ask(Method::GET, "/images/ship-0").await.0, 404);
    assert_eq!(first.ask(Method::GET, "/livez").await.0, 200);
    let position = second
        .client
        .get(second.at("/images/ship-0"))
        .send()
        .await
        .unwrap();
    let position = position.headers()[POSITION].clone();
    let read_after = |server: &TestServer| {
        server
            .client
            .get(server.at("/images/ship-0"))
            .header(AFTER, &position)
    };
    let behind: Value = read_after(first)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(behind["code"], "behind");
    cluster.proxies[0].cut(false);
    server::eventually("the replica is ready again", async || {
        let caught_up = read_after(first).send().await.unwrap().status() == 200;
        (caught_up && first.ask(Method::GET, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    first.store(&["dog"], 1).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_applies_the_whole_log_and_the_folder_of_another_gallery_is_refused() {
    let mut cluster = Cluster::start().await;
    cluster.replicas[0].store(&["cat", "ship"], 20).await;
    cluster.settle().await;
    let proxy = Proxy::to(&cluster.nats.ports()).await;
    cluster.proxies.push(proxy);
    let began = Instant::now();
    let new = cluster.replica(REPLICAS, folder());
    cluster.replicas.push(new);
    cluster.settle().await;
    println!("a new replica took {:?} for 40 images", began.elapsed());
    let new = cluster.replicas.pop().unwrap();
    let followed = new.kill();
    let stderr_of = |folder: &TempDir, arguments: &[&str]| {
        let model = folder.path().join("model.safetensors");
        let mut program = server::program(folder.path(), &model);
        program.arg("--originals").arg(&cluster.places()[0]);
        let output = program.args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let alone = stderr_of(&followed, &[]);
    assert!(alone.contains("follows the log of a gallery"), "{alone}");
    let urls = cluster.proxies[REPLICAS].urls();
    let other = stderr_of(&followed, &["--nats", &urls, "--nats-gallery", "another"]);
    assert!(
        other.contains("not on these servers under the name another"),
        "{other}"
    );
    let own = folder();
    let mut server = TestServer::start_in(own, &[]);
    server.store(&["cat"], 1).await;
    server.terminate();
    let own = server.kill();
    let other = stderr_of(&own, &["--nats", &urls]);
    assert!(other.contains("does not belong to gallery"), "{other}");
    let model = folder();
    server::second_model(model.path());
    fs::rename(
        model.path().join("another.safetensors"),
        model.path().join("model.safetensors"),
    )
    .unwrap();
    let other = stderr_of(&model, &["--nats", &urls]);
    assert!(
        other.contains("the gallery's codes are of model"),
        "{other}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_starts_from_a_snapshot_if_the_log_was_trimmed() {
    let mut cluster = Cluster::start().await;
    cluster.replicas[0].store(&["cat"], 20).await;
    cluster.settle().await;
    // This replica is down from now on.
    let away = cluster.kill(2);
    let snapshot = async |cluster: &Cluster| {
        let (status, made) = cluster.replicas[1]
            .ask(Method::POST, "/admin/snapshots")
            .await;
        assert_eq!((status.as_u16(), &made["originals"]), (201, &json!(false)));
        made["position"].as_u64().unwrap()
    };
    cluster.replicas[0].store(&["ship"], 10).await;
    cluster.settle().await;
    let first = snapshot(&cluster).await;
    cluster.replicas[0].store(&["dog"], 10).await;
    cluster.settle().await;
    let second = snapshot(&cluster).await;
    assert!(first < second);
    cluster.replicas[0].store(&["frog"], 5).await;
    let urls = cluster.nats.urls();
    let client = async_nats::connect(urls.split(',').collect::<Vec<_>>())
        .await
        .unwrap();
    let context = async_nats::jetstream::new(client);
    let stream = context.get_stream("scihcgrl_gallery").await.unwrap();
    assert_eq!(stream.cached_info().state.first_sequence, first + 1);

    cluster.restart(2, folder());
    cluster.settle().await;
    assert_eq!(gallery(&cluster.replicas[2]).await.len(), 45);
    let content = cluster.replicas[2].at("/images/cat-3/content");
    let content = cluster.replicas[2]
        .client
        .get(content)
        .send()
        .await
        .unwrap();
    assert_eq!(
        content.bytes().await.unwrap(),
        fs::read(&samples("cat")[3]).unwrap()
    );

    // The log no longer has what the stopped replica needs.
    let fresh = cluster.kill(2);
    cluster.restart(2, away);
    server::eventually(
        "the replica stops, because the writes that it needs are gone",
        async || {
            let (status, _) = cluster.replicas[2].ask(Method::GET, "/livez").await;
            (status == 503).then_some(())
        },
    )
    .await;
    drop(fresh);
}
