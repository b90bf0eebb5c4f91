//! Replicas of a gallery, each with its own proxy to the NATS servers: starting, killing, and
//! waiting until all have the same state.

use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use super::nats::{Nats, Proxy};
use crate::{
    replicas::REPLICAS,
    server::{self, TestServer},
};

/// Replicas and their NATS servers.
pub struct Cluster {
    pub nats: Nats,
    pub proxies: Vec<Proxy>,
    pub replicas: Vec<TestServer>,
    /// The folders of originals and of snapshots.
    shared: TempDir,
    /// The present address of each replica.
    pub urls: Arc<RwLock<Vec<String>>>,
}

pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    folder
}

impl Cluster {
    /// Starts three servers and no replica.
    pub fn empty() -> Self {
        Cluster {
            shared: tempfile::tempdir().unwrap(),
            proxies: Vec::new(),
            replicas: Vec::new(),
            urls: Arc::default(),
            nats: Nats::start(3),
        }
    }

    pub async fn start() -> Self {
        let mut cluster = Cluster::empty();
        for number in 0..REPLICAS {
            cluster.proxies.push(Proxy::to(&cluster.nats.ports()).await);
            let replica = cluster.replica(number, folder());
            cluster.urls.write().unwrap().push(replica.url.clone());
            cluster.replicas.push(replica);
        }
        cluster
    }

    pub fn replica(&self, number: usize, folder: TempDir) -> TestServer {
        self.begin(
            "serve",
            &self.proxies[number].urls(),
            folder,
            &["--nats-trim"],
        )
    }

    /// Starts a replica or a worker in a new folder, connected to the servers without a proxy.
    pub fn one_more(&self, subcommand: &str, arguments: &[&str]) -> TestServer {
        self.begin(subcommand, &self.nats.urls(), folder(), arguments)
    }

    /// Starts a replica or a worker in this folder, connected by these URLs.
    pub fn begin(
        &self,
        subcommand: &str,
        urls: &str,
        folder: TempDir,
        arguments: &[&str],
    ) -> TestServer {
        let [originals, snapshots] = self.places();
        TestServer::start_as(subcommand, folder, |program| {
            program.arg("--originals").arg(originals);
            program.arg("--snapshots").arg(snapshots);
            program.args(["--nats", urls]).args(arguments)
        })
    }

    pub fn places(&self) -> [PathBuf; 2] {
        ["originals", "snapshots"].map(|name| self.shared.path().join(name))
    }

    pub fn kill(&mut self, number: usize) -> TempDir {
        let killed = self.replicas.remove(number);
        killed.kill()
    }

    pub fn restart(&mut self, number: usize, folder: TempDir) {
        let replica = self.replica(number, folder);
        self.urls.write().unwrap()[number] = replica.url.clone();
        self.replicas.insert(number, replica);
    }

    /// Waits until all replicas have applied the whole log, and compares their digests. Returns the
    /// position.
    pub async fn settle(&self) -> u64 {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let mut digests = Vec::new();
            for replica in &self.replicas {
                digests.push(replica.ask(Method::GET, "/admin/digest").await.1);
            }
            let positions: Vec<&Value> = digests.iter().map(|of| &of["position"]).collect();
            let head = self.head().await;
            if let Some(head) = head
                && positions.iter().all(|position| **position == json!(head))
            {
                assert!(
                    digests.iter().all(|digest| *digest == digests[0]),
                    "stores differ at one position: {digests:?}"
                );
                return head;
            }
            assert!(Instant::now() < end, "{positions:?} of {head:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Returns the last position of the log if a server responds.
    async fn head(&self) -> Option<u64> {
        let urls = self.nats.urls();
        let client = async_nats::connect(urls.split(',').collect::<Vec<_>>());
        let context = async_nats::jetstream::new(client.await.ok()?);
        let stream = context.get_stream("scihcgrl_gallery").await.ok()?;
        Some(stream.cached_info().state.last_sequence)
    }
}
