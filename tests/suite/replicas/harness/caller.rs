//! A client that writes to random replicas, and the history of its writes.

use std::{
    fs,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::history::{self, Act, History, Outcome};
use crate::{
    replicas::{AFTER, ANSWER_TIMEOUT, POSITION},
    server::{self, samples},
};

/// One caller. It sends one request at a time, each to a random replica.
pub struct Caller {
    number: usize,
    pub urls: Arc<RwLock<Vec<String>>>,
    client: Client,
    photos: Vec<Vec<u8>>,
    random: ChaCha8Rng,
    pub history: History,
    pub done: usize,
    /// The number of reads at a random replica after a write.
    pub reads: usize,
}

impl Caller {
    pub fn new(number: usize, urls: Arc<RwLock<Vec<String>>>) -> Self {
        let files = ["cat", "ship"].into_iter().flat_map(samples).take(20);
        Caller {
            number,
            urls,
            client: server::client().timeout(ANSWER_TIMEOUT).build().unwrap(),
            photos: files.map(|file| fs::read(file).unwrap()).collect(),
            random: ChaCha8Rng::seed_from_u64(number as u64),
            history: History::default(),
            done: 0,
            reads: 0,
        }
    }

    fn url(&mut self) -> String {
        let urls = self.urls.read().unwrap();
        urls[self.random.random_range(0..urls.len())].clone()
    }

    /// Acts on an image; returns the log's position after the act if it was done.
    async fn act(&mut self, id: &str, act: Act) -> Option<u64> {
        let url = format!("{}/images/{id}", self.url());
        let photo = self.photos.choose(&mut self.random).unwrap().clone();
        let request = match &act {
            Act::Put(label) => self.client.put(format!("{url}?label={label}")).body(photo),
            Act::Patch(label) => self.client.patch(url).json(&json!({ "labels": [label] })),
            Act::Delete => self.client.delete(url),
        };
        let answer = request.send().await;
        let status = answer.as_ref().map(reqwest::Response::status);
        let outcome = match status {
            Ok(status) if status.is_success() => Outcome::Done,
            Ok(StatusCode::NOT_FOUND) => Outcome::Missing,
            Ok(status) => {
                assert!(status.is_server_error(), "{act:?} of {id}: {status}");
                Outcome::Unknown
            }
            Err(_) => Outcome::Unknown,
        };
        self.history.note(id, act, outcome);
        if outcome == Outcome::Unknown {
            // Shorter than Retry-After says.
            sleep(Duration::from_millis(100)).await;
        }
        self.done += usize::from(outcome == Outcome::Done);
        let position = answer.ok()?.headers().get(POSITION)?.to_str().ok()?.parse();
        position.ok().filter(|_| outcome == Outcome::Done)
    }

    /// Reads an image at a random replica, once that replica has applied the position.
    async fn read(&mut self, id: &str, position: u64) {
        let acts = self.history.0[id].clone();
        let url = format!("{}/images/{id}", self.url());
        let request = self.client.get(url).header(AFTER, position);
        let Ok(answer) = request.send().await else {
            return;
        };
        let seen = match answer.status() {
            StatusCode::OK => {
                let Ok(image) = answer.json::<Value>().await else {
                    return;
                };
                Some(image["labels"][0].as_str().unwrap().to_owned())
            }
            StatusCode::NOT_FOUND => None,
            _ => return,
        };
        self.reads += 1;
        assert!(
            history::possible(&acts).contains(&seen),
            "{id} reads as {seen:?} after {acts:?}"
        );
    }

    pub async fn run(mut self, stop: Arc<AtomicBool>) -> Self {
        let mut own: Vec<String> = Vec::new();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let old = own.choose(&mut self.random).cloned();
            let (id, act) = match (self.random.random_range(0..10), old) {
                (0..2, Some(id)) => (id, Act::Patch(format!("patch-{number}"))),
                (2..4, Some(id)) => {
                    own.retain(|other| *other != id);
                    (id, Act::Delete)
                }
                _ => {
                    let id = format!("image-{}-{number}", self.number);
                    own.push(id.clone());
                    (id, Act::Put(format!("put-{number}")))
                }
            };
            if let Some(position) = self.act(&id, act).await
                && self.random.random_bool(0.3)
            {
                self.read(&id, position).await;
            }
        }
        self
    }
}
