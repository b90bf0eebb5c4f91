//! A service that is killed, or hung up on, while one model takes another's place: with codes being made, and at the very switch.
//! Knows when a request was sent, whether it was answered, and what each model finds.

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

/// The longest that a service lives after it was asked for another model's codes.
const MOST_MS: u64 = 150;

/// A service with all pictures by one model, and the other uploaded.
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

/// The active model, of which there is one, and the other, once searches have found all that they should by whichever has answered.
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

/// The newest job, over.
async fn last_job(server: &TestServer) -> Value {
    let (_, jobs) = server.ask(Method::GET, "/admin/jobs?limit=1").await;
    server.over(&jobs["jobs"][0]["id"]).await
}

#[tokio::test]
async fn killed_while_codes_are_made_it_goes_on() {
    let (mut server, known) = stored().await;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // Those that came when all codes were made are not counted.
    let (wanted, mut kills, mut resumed) = (server::times(8, 100), 0, 0);
    while resumed < wanted {
        kills += 1;
        let (_, other) = whole(&server, &known).await;
        let codes = format!("/admin/models/{other}/codes");
        assert_eq!(server.ask(Method::DELETE, &codes).await.0, 204);
        let (status, accepted) = activate(&server, &other).await;
        assert_eq!(status, 202, "{accepted}");
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..MOST_MS))).await;
        server = TestServer::start_in(server.kill(), &[]);
        // By whichever model it has, it finds everything at once.
        whole(&server, &known).await;
        let job = last_job(&server).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        resumed += job["resumed"].as_u64().unwrap();
        assert_eq!(whole(&server, &known).await.0, other);
    }
    println!("{resumed} of {kills} kills came while codes were made; each time the job went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_the_switch_it_is_before_or_after_it() {
    let (mut server, known) = stored().await;
    let [_, other] = &known.ids;
    activate(&server, other).await;
    last_job(&server).await;
    let began = Instant::now();
    activate(&server, &known.ids[0]).await;
    let (took, mut rng) = (began.elapsed(), ChaCha8Rng::seed_from_u64(4));
    // Those whose request was answered came after the switch, and are not counted.
    let (wanted, mut before, mut after, mut answered) = (server::times(8, 100), 0, 0, 0);
    while before + after < wanted {
        let (active, other) = whole(&server, &known).await;
        let client = server.client.clone();
        let at = server.at(&format!("/admin/models/{other}/activate"));
        let asked = tokio::spawn(async move { client.post(at).send().await });
        thread::sleep(took.mul_f64(rng.random_range(0.2..1.0)));
        let folder = server.kill();
        let was_answered = asked.await.unwrap().is_ok();
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
async fn hung_up_on_at_the_switch_it_completes_it() {
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
        let patience = took.mul_f64(rng.random_range(0.2..1.0));
        let asked = Instant::now();
        match tokio::time::timeout(patience, request).await {
            Err(_) => hung_up += 1,
            // The first may have been slow for what runs beside this.
            Ok(_) => took = took.min(asked.elapsed()),
        }
        // A write that meets two models in disagreement would never end.
        let write = put(&server.client, &server.url, 0);
        let written = tokio::time::timeout(Duration::from_secs(20), write).await;
        assert_eq!(written.unwrap(), 200);
        let (now, _) = whole(&server, &known).await;
        switched += usize::from(now != active);
        let (_, info) = server.ask(Method::GET, "/info").await;
        assert_eq!(info["model_id"], json!(now));
    }
    println!(
        "{hung_up} of {rounds} callers hung up before the answer; {switched} switches came about"
    );
    assert!(hung_up > 0);
}
