//! A service that is killed, or whose caller hangs up, while one model replaces another: while
//! codes are computed, and at the switch itself.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Known, PICTURES, activate, put, search,
    server::{self, TestServer},
    upload,
};

/// Maximum time from the request for another model's codes to the kill.
const LONGEST_DELAY_MS: u64 = 150;

/// Starts a service with all pictures stored under one model and the other model uploaded.
async fn stored() -> (TestServer, Known) {
    let folder = tempfile::tempdir().unwrap();
    let known = Known::make(folder.path());
    let server = TestServer::start_in(folder, &[]);
    for number in 0..PICTURES {
        put(&server.client, &server.url, number).await;
    }
    upload(&server).await;
    (server, known)
}

/// Returns the active model and the other one, after searches have found all that they should under
/// the active one.
async fn whole(server: &TestServer, known: &Known) -> (String, String) {
    let (_, models) = server.ask(Method::GET, "/admin/models").await;
    let all = models["models"].as_array().unwrap().iter();
    let active: Vec<&Value> = all.filter(|model| model["state"] == "active").collect();
    assert_eq!(active.len(), 1, "{models}");
    let active = active[0]["id"].as_str().unwrap();
    let all: BTreeSet<usize> = (0..PICTURES).collect();
    for number in 0..PICTURES {
        let (model, found) = search(&server.client, &server.url, number, known).await;
        assert_eq!(found, known.same(&model, number, &all));
    }
    let other = known.ids.iter().find(|id| *id != active).unwrap();
    (active.to_owned(), other.clone())
}

/// Waits until the newest job has ended.
async fn last_job(server: &TestServer) -> Value {
    let (_, jobs) = server.ask(Method::GET, "/admin/jobs?limit=1").await;
    server.wait_for_end(&jobs["jobs"][0]["id"]).await
}

#[tokio::test]
async fn a_reencoding_resumes_after_a_kill() {
    let (mut server, known) = stored().await;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // Kills after all codes were computed are not counted.
    let (wanted, mut kills, mut resumed) = (server::times(8, 100), 0, 0);
    while resumed < wanted {
        kills += 1;
        let (_, other) = whole(&server, &known).await;
        let codes = format!("/admin/models/{other}/codes");
        assert_eq!(server.ask(Method::DELETE, &codes).await.0, 204);
        let (status, accepted) = activate(&server, &other).await;
        assert_eq!(status, 202, "{accepted}");
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..LONGEST_DELAY_MS))).await;
        server = TestServer::start_in(server.kill(), &[]);
        // Whichever model is active, everything is found at once.
        whole(&server, &known).await;
        let job = last_job(&server).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        resumed += job["resumed"].as_u64().unwrap();
        assert_eq!(whole(&server, &known).await.0, other);
    }
    println!(
        "{resumed} of {kills} kills came while codes were computed; each time the job resumed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_the_switch_leaves_the_old_or_the_new_model() {
    let (mut server, known) = stored().await;
    let [_, other] = &known.ids;
    activate(&server, other).await;
    last_job(&server).await;
    let began = Instant::now();
    activate(&server, &known.ids[0]).await;
    let (took, mut rng) = (began.elapsed(), ChaCha8Rng::seed_from_u64(4));
    // Kills after the response are not counted.
    let (wanted, mut before, mut after, mut answered) = (server::times(8, 100), 0, 0, 0);
    while before + after < wanted {
        let (active, other) = whole(&server, &known).await;
        let client = server.client.clone();
        let url = server.at(&format!("/admin/models/{other}/activate"));
        let request = tokio::spawn(async move { client.post(url).send().await });
        thread::sleep(took.mul_f64(rng.random_range(0.2..1.0)));
        let folder = server.kill();
        let was_answered = request.await.unwrap().is_ok();
        server = TestServer::start_in(folder, &[]);
        let (now, _) = whole(&server, &known).await;
        match (was_answered, now == active) {
            (true, true) => panic!("an answered switch was undone"),
            (true, false) => answered += 1,
            (false, true) => before += 1,
            (false, false) => after += 1,
        }
    }
    println!(
        "a switch took {took:?}; {wanted} kills between a request for one and its answer: {before} before the switch was on disk, {after} \
         after it; {answered} more came after the answer"
    );
}

#[tokio::test]
async fn the_switch_completes_if_its_caller_hangs_up() {
    let (server, known) = stored().await;
    activate(&server, &known.ids[1]).await;
    last_job(&server).await;
    let began = Instant::now();
    activate(&server, &known.ids[0]).await;
    let (mut took, mut rng) = (began.elapsed(), ChaCha8Rng::seed_from_u64(6));
    let (rounds, mut hung_up, mut switched) = (server::times(15, 100), 0, 0);
    for _ in 0..rounds {
        let (active, other) = whole(&server, &known).await;
        let request = activate(&server, &other);
        let delay = took.mul_f64(rng.random_range(0.2..1.0));
        let sent = Instant::now();
        match tokio::time::timeout(delay, request).await {
            Err(_) => hung_up += 1,
            // The first request may have been slow because of other tests.
            Ok(_) => took = took.min(sent.elapsed()),
        }
        // If the models disagreed, a write would never end.
        let write = put(&server.client, &server.url, 0);
        let written = tokio::time::timeout(Duration::from_secs(20), write).await;
        assert_eq!(written.unwrap(), 200);
        let (now, _) = whole(&server, &known).await;
        switched += usize::from(now != active);
        let (_, info) = server.ask(Method::GET, "/info").await;
        assert_eq!(info["model_id"], json!(now));
    }
    println!(
        "{hung_up} of {rounds} callers hung up before the answer; {switched} switches happened"
    );
    assert!(hung_up > 0);
}
