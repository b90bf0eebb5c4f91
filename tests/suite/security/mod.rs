//! Hostile requests. This file sends thousands of damaged pictures.
//!
//! - `mutants`: makes damaged pictures
//! - `decoders`: killed decoders
//! - `connections`, `slow`, `memory`: callers that hold connections, time or memory
//! - `limits`: requests at each limit
//! - `kills`: kills under writes
//! - `outsiders`: tests/outsiders.sh

mod connections;
mod decoders;
mod kills;
mod limits;
mod memory;
mod mutants;
mod outsiders;
mod slow;

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::server::{self, TestServer};
use mutants::Corpus;
use reqwest::{Client, Response};
use serde_json::Value;

const UPRIGHT: &[u8] = include_bytes!("../../fixtures/upright.jpg");
const CALLERS: usize = 8;
/// The time after which a request counts as failed.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// The responses to one caller's mutants.
#[derive(Default)]
struct Outcome {
    /// Counts by format, status and the problem's code.
    counts: BTreeMap<(&'static str, u16, String), usize>,
    took: Vec<(Duration, String)>,
    searches: usize,
}

/// Each file is decoded or refused with a reason, and searches in between are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_damaged_pictures_are_decoded_or_refused_and_do_no_harm() {
    let mutants = server::times(6_000, 100_000);
    let server = TestServer::start().await;
    let corpus = Arc::new(Corpus::new());
    let next = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (client, url) = (server.client.clone(), server.url.clone());
            tokio::spawn(post_mutants(
                client,
                url,
                corpus.clone(),
                next.clone(),
                mutants,
            ))
        })
        .collect();
    let mut all = Outcome::default();
    for caller in callers {
        let some = caller.await.unwrap();
        for (key, count) in some.counts {
            *all.counts.entry(key).or_default() += count;
        }
        all.took.extend(some.took);
        all.searches += some.searches;
    }
    for ((format, status, code), count) in &all.counts {
        println!("{count:>5}  {format:<4}  {status}  {code}");
    }
    all.took.sort_by_key(|(took, _)| Reverse(*took));
    let late = all.took.iter().filter(|(took, _)| took.as_secs() >= 2);
    let (late, all_of_them, searches) = (late.count(), all.took.len(), all.searches);
    println!("{all_of_them} files, {searches} searches in between, {late} files took over 2 s");
    for (took, what) in &all.took[..5] {
        println!("{:>9.1} ms  {what}", took.as_secs_f64() * 1e3);
    }
    assert_eq!(all_of_them, mutants);
    search(&server.client, &server.url).await;
}

async fn post_mutants(
    client: Client,
    url: String,
    corpus: Arc<Corpus>,
    next: Arc<AtomicUsize>,
    mutants: usize,
) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= mutants {
            return outcome;
        }
        let mutant = corpus.mutant(number);
        let request = client
            .post(format!("{url}/encode"))
            .body(mutant.bytes)
            .timeout(ANSWER_TIMEOUT);
        let started = Instant::now();
        let answer = request.send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{}: {error:?}", mutant.what));
        let (status, code) = read_or_refused(answer, &mutant.what).await;
        outcome.took.push((started.elapsed(), mutant.what));
        let key = (mutant.format, status, code);
        *outcome.counts.entry(key).or_default() += 1;
        if number.is_multiple_of(50) {
            search(&client, &url).await;
            outcome.searches += 1;
        }
    }
}

/// Returns the status, and the problem's code if it is one.
async fn read_or_refused(answer: Response, what: &str) -> (u16, String) {
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").cloned();
    let body: Value = answer.json().await.unwrap();
    if status == 200 {
        assert_eq!(body["codes"].as_object().unwrap().len(), 3, "{what}");
        return (status, "read".to_owned());
    }
    assert!((400..500).contains(&status), "{what}: {status} {body}");
    assert_eq!(kind.unwrap(), "application/problem+json", "{what}");
    assert_eq!(body["status"], status, "{what}");
    (status, body["code"].as_str().unwrap().to_owned())
}

/// Sends an ordinary search, which must succeed.
async fn search(client: &Client, url: &str) {
    let request = client.post(format!("{url}/search")).body(UPRIGHT);
    let answer = request.timeout(ANSWER_TIMEOUT).send().await.unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert!(body["total"].is_u64(), "{body}");
}
