//! Three replicas of a gallery on three NATS servers, written to at all of them while replicas and servers are killed, stopped and cut off.
//! Knows processes, requests and what has to hold at the end; `ROUNDS` says how often something is done to them.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

#[path = "cluster/history.rs"]
mod history;
#[path = "cluster/nats.rs"]
mod nats;
mod server;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Child,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use history::{Act, History, Outcome};
use nats::{Nats, Way, signal};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use server::{TestServer, samples};
use tempfile::TempDir;
use tokio::time::sleep;

const REPLICAS: usize = 3;
/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
const POSITION: &str = "scihcgrl-position";
const AFTER: &str = "scihcgrl-after";

/// Replicas with the servers between them.
struct Cluster {
    nats: Nats,
    ways: Vec<Way>,
    replicas: Vec<TestServer>,
    /// The folder of originals, and that of snapshots.
    shared: TempDir,
    /// Where each replica is just now.
    urls: Arc<RwLock<Vec<String>>>,
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    folder
}

impl Cluster {
    async fn start() -> Self {
        let nats = Nats::start(3);
        let mut cluster = Cluster {
            shared: tempfile::tempdir().unwrap(),
            ways: Vec::new(),
            replicas: Vec::new(),
            urls: Arc::default(),
            nats,
        };
        for number in 0..REPLICAS {
            cluster.ways.push(Way::to(&cluster.nats.ports()).await);
            let replica = cluster.replica(number, folder());
            cluster.urls.write().unwrap().push(replica.url.clone());
            cluster.replicas.push(replica);
        }
        cluster
    }

    fn replica(&self, number: usize, folder: TempDir) -> TestServer {
        let urls = self.ways[number].urls();
        let [originals, snapshots] = self.places();
        TestServer::start_with(folder, |program| {
            program.arg("--originals").arg(originals);
            program.arg("--snapshots").arg(snapshots);
            program.args(["--nats", &urls, "--nats-trim"])
        })
    }

    fn places(&self) -> [PathBuf; 2] {
        ["originals", "snapshots"].map(|name| self.shared.path().join(name))
    }

    fn kill(&mut self, number: usize) -> TempDir {
        // Something has to stand in its place.
        let killed = self.replicas.remove(number);
        killed.kill()
    }

    fn restart(&mut self, number: usize, folder: TempDir) {
        let replica = self.replica(number, folder);
        self.urls.write().unwrap()[number] = replica.url.clone();
        self.replicas.insert(number, replica);
    }

    /// Waits until all have applied the same, and compares what they have.
    async fn settle(&self) -> u64 {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let mut digests = Vec::new();
            for replica in &self.replicas {
                digests.push(replica.ask(Method::GET, "/admin/digest").await.1);
            }
            let positions: Vec<&Value> = digests.iter().map(|of| &of["position"]).collect();
            let head = self.head().await;
            if positions.iter().all(|position| **position == json!(head)) {
                assert!(
                    digests.iter().all(|digest| *digest == digests[0]),
                    "one position, and stores that differ: {digests:?}"
                );
                return head;
            }
            assert!(Instant::now() < end, "{positions:?} of {head}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// How far the log goes.
    async fn head(&self) -> u64 {
        let urls = self.nats.urls();
        let client = async_nats::connect(urls.split(',').collect::<Vec<_>>())
            .await
            .unwrap();
        let context = async_nats::jetstream::new(client);
        let stream = context.get_stream("scihcgrl_gallery").await.unwrap();
        stream.cached_info().state.last_sequence
    }
}

/// All images that a replica has, with their first labels.
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

/// What a caller does, one after the other, at whichever replica.
struct Caller {
    number: usize,
    urls: Arc<RwLock<Vec<String>>>,
    client: Client,
    photos: Vec<Vec<u8>>,
    random: ChaCha8Rng,
    history: History,
    done: usize,
    /// Reads of what was written elsewhere, and how many of them were of it.
    reads: usize,
}

impl Caller {
    fn new(number: usize, urls: Arc<RwLock<Vec<String>>>) -> Self {
        let files = ["cat", "ship"].into_iter().flat_map(samples).take(20);
        Caller {
            number,
            urls,
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
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

    /// One act on an image; tells the position of the log after it, if it was done.
    async fn act(&mut self, id: &str, act: Act) -> Option<u64> {
        let at = format!("{}/images/{id}", self.url());
        let photo = self.photos.choose(&mut self.random).unwrap().clone();
        let request = match &act {
            Act::Put(label) => self.client.put(format!("{at}?label={label}")).body(photo),
            Act::Patch(label) => self.client.patch(at).json(&json!({ "labels": [label] })),
            Act::Delete => self.client.delete(at),
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
            // As Retry-After has it, but less patient.
            sleep(Duration::from_millis(100)).await;
        }
        self.done += usize::from(outcome == Outcome::Done);
        let position = answer.ok()?.headers().get(POSITION)?.to_str().ok()?.parse();
        position.ok().filter(|_| outcome == Outcome::Done)
    }

    /// Reads an image where it was not written, once that replica has what was.
    async fn read(&mut self, id: &str, position: u64) {
        let acts = self.history.0[id].clone();
        let at = format!("{}/images/{id}", self.url());
        let request = self.client.get(at).header(AFTER, position);
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

    async fn go_on(mut self, stop: Arc<AtomicBool>) -> Self {
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

/// What is done to a cluster in a round.
#[derive(Clone, Copy, Debug)]
enum Harm {
    KillReplica,
    KillNode,
    KillLeader,
    StopReplica,
    StopNode,
    CutOff,
}

const HARMS: [Harm; 6] = [
    Harm::KillReplica,
    Harm::KillLeader,
    Harm::CutOff,
    Harm::StopNode,
    Harm::StopReplica,
    Harm::KillNode,
];

async fn stopped(process: &Child, seconds: f64) {
    signal(process, "-STOP");
    sleep(Duration::from_secs_f64(seconds)).await;
    signal(process, "-CONT");
}

impl Cluster {
    async fn harm(&mut self, harm: Harm, random: &mut ChaCha8Rng) {
        let replica = random.random_range(0..REPLICAS);
        let node = random.random_range(0..self.nats.count());
        let seconds = random.random_range(0.2..4.0);
        let pause = Duration::from_secs_f64(seconds);
        match harm {
            Harm::KillReplica => {
                let folder = self.kill(replica);
                sleep(pause).await;
                self.restart(replica, folder);
            }
            Harm::KillNode | Harm::KillLeader => {
                let node = match harm {
                    Harm::KillLeader => self.nats.leader().await.unwrap_or(node),
                    _ => node,
                };
                self.nats.kill(node);
                sleep(pause).await;
                self.nats.restart(node);
            }
            Harm::StopReplica => stopped(self.replicas[replica].process(), seconds).await,
            Harm::StopNode => stopped(self.nats.process(node), seconds).await,
            Harm::CutOff => {
                self.ways[replica].cut(true);
                sleep(pause + Duration::from_secs(3)).await;
                self.ways[replica].cut(false);
            }
        }
        println!("{harm:?} for {seconds:.1} s");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whatever_dies() {
    let rounds = std::env::var("ROUNDS").map_or(HARMS.len(), |rounds| rounds.parse().unwrap());
    let mut cluster = Cluster::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..REPLICAS)
        .map(|number| {
            let caller = Caller::new(number, cluster.urls.clone());
            tokio::spawn(caller.go_on(stop.clone()))
        })
        .collect();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for round in 0..rounds {
        sleep(Duration::from_millis(random.random_range(500..2000))).await;
        cluster.harm(HARMS[round % HARMS.len()], &mut random).await;
    }
    sleep(Duration::from_secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut histories, mut done, mut reads) = (History::default(), 0, 0);
    for caller in callers {
        let caller = caller.await.unwrap();
        (done, reads) = (done + caller.done, reads + caller.reads);
        // No two callers ever act on one image.
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
    // Of every image each replica gives the original, wherever it was stored.
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
    assert!(done > rounds * 5, "{done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_answers_searches_and_refuses_writes_until_it_is_back() {
    let cluster = Cluster::start().await;
    let [first, second, _] = &cluster.replicas[..] else {
        panic!()
    };
    first.store(&["cat"], 5).await;
    cluster.settle().await;
    let photo = fs::read(&samples("cat")[0]).unwrap();
    cluster.ways[0].cut(true);
    second.store(&["ship"], 5).await;
    // It is noticed after a while; until then a write waits, and is not done.
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let put = first
            .client
            .put(first.at("/images/late"))
            .body(photo.clone());
        let answer = put.send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "1");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "log_unavailable", "{problem}");
        let ready = first.ask(Method::GET, "/readyz").await.0;
        if ready == 503 {
            break;
        }
        assert!(Instant::now() < end, "it stays ready");
        sleep(Duration::from_millis(300)).await;
    }
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
    let asked = |server: &TestServer| {
        server
            .client
            .get(server.at("/images/ship-0"))
            .header(AFTER, &position)
    };
    let behind: Value = asked(first).send().await.unwrap().json().await.unwrap();
    assert_eq!(behind["code"], "behind");
    cluster.ways[0].cut(false);
    let end = Instant::now() + Duration::from_secs(30);
    while asked(first).send().await.unwrap().status() != 200
        || first.ask(Method::GET, "/readyz").await.0 != 200
    {
        assert!(Instant::now() < end, "it does not come back");
        sleep(Duration::from_millis(200)).await;
    }
    first.store(&["dog"], 1).await;
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_takes_all_of_the_log_and_another_gallerys_folder_is_refused() {
    let mut cluster = Cluster::start().await;
    cluster.replicas[0].store(&["cat", "ship"], 20).await;
    cluster.settle().await;
    let way = Way::to(&cluster.nats.ports()).await;
    cluster.ways.push(way);
    let began = Instant::now();
    let new = cluster.replica(REPLICAS, folder());
    cluster.replicas.push(new);
    cluster.settle().await;
    println!("a new replica took {:?} for 40 images", began.elapsed());
    let new = cluster.replicas.pop().unwrap();
    let followed = new.kill();
    let said = |folder: &TempDir, arguments: &[&str]| {
        let model = folder.path().join("model.safetensors");
        let mut program = server::program(folder.path(), &model);
        program.arg("--originals").arg(&cluster.places()[0]);
        let output = program.args(arguments).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let alone = said(&followed, &[]);
    assert!(alone.contains("follows the log of a gallery"), "{alone}");
    let urls = cluster.ways[REPLICAS].urls();
    let other = said(&followed, &["--nats", &urls, "--nats-gallery", "another"]);
    assert!(other.contains("is not of the gallery"), "{other}");
    let own = folder();
    let mut server = TestServer::start_in(own, &[]);
    server.store(&["cat"], 1).await;
    server.terminate();
    let own = server.kill();
    let other = said(&own, &["--nats", &urls]);
    assert!(other.contains("is not of the gallery"), "{other}");
    let model = folder();
    server::another(model.path());
    fs::rename(
        model.path().join("another.safetensors"),
        model.path().join("model.safetensors"),
    )
    .unwrap();
    let other = said(&model, &["--nats", &urls]);
    assert!(
        other.contains("the gallery's codes are of model"),
        "{other}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_begins_with_a_snapshot_where_the_log_is_let_go_of() {
    let mut cluster = Cluster::start().await;
    cluster.replicas[0].store(&["cat"], 20).await;
    cluster.settle().await;
    // One that is away from now on.
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

    // The one that was away finds a log that begins after what it has.
    let fresh = cluster.kill(2);
    cluster.restart(2, away);
    let end = Instant::now() + Duration::from_secs(20);
    while cluster.replicas[2].ask(Method::GET, "/livez").await.0 != 503 {
        assert!(Instant::now() < end, "it goes on without what is gone");
        sleep(Duration::from_millis(100)).await;
    }
    drop(fresh);
}

/// Searches at one replica until told to stop: by which models the positions were answered.
async fn searched(url: String, stop: Arc<AtomicBool>) -> Vec<(u64, String)> {
    let client = Client::builder().timeout(PATIENCE).build().unwrap();
    let photo = fs::read(&samples("cat")[0]).unwrap();
    let mut told = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let search = client
            .post(format!("{url}/search?radius=4"))
            .body(photo.clone());
        let Ok(answer) = search.send().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        // One that is restarted is at another address from then on.
        if answer.status() != 200 {
            continue;
        }
        let position = answer.headers().get(POSITION).cloned();
        let found: Value = answer.json().await.unwrap();
        if let Some(position) = position {
            let model = found["query"]["model"].as_str().unwrap().to_owned();
            told.push((position.to_str().unwrap().parse().unwrap(), model));
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_change_models_at_one_position_of_the_log() {
    let mut cluster = Cluster::start().await;
    cluster.replicas[0].store(&["cat", "ship"], 30).await;
    cluster.settle().await;
    let first = &cluster.replicas[0];
    let old = first.ask(Method::GET, "/info").await.1["model_id"].clone();
    let file = server::another(first.folder.path());
    let upload = first
        .client
        .post(first.at("/admin/models"))
        .body(fs::read(file).unwrap());
    let added: Value = upload.send().await.unwrap().json().await.unwrap();
    let new = added["id"].clone();
    let stop = Arc::new(AtomicBool::new(false));
    let searchers: Vec<_> = (cluster.urls.read().unwrap().iter())
        .map(|url| tokio::spawn(searched(url.clone(), stop.clone())))
        .collect();
    let writer = {
        let (url, client, stop) = (cluster.replicas[1].url.clone(), Client::new(), stop.clone());
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
    // One dies and comes back while the gallery is encoded.
    let folder = cluster.kill(2);
    cluster.restart(2, folder);
    let first = &cluster.replicas[0];
    let job = first.over(&activated["job"]["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    sleep(Duration::from_millis(500)).await;
    // And back, at another replica, at once.
    let second = &cluster.replicas[1];
    let end = Instant::now() + Duration::from_secs(20);
    while second.ask(Method::GET, "/info").await.1["model_id"] != new {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(20)).await;
    }
    let (status, back) = second.ask(Method::POST, &activate(&old)).await;
    assert_eq!(
        (status.as_u16(), &back["state"]),
        (200, &json!("active")),
        "{back}"
    );
    sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let stored = writer.await.unwrap();
    let mut by = BTreeMap::<u64, String>::new();
    let mut answers = 0;
    for searcher in searchers {
        for (position, model) in searcher.await.unwrap() {
            answers += 1;
            let first = by.entry(position).or_insert_with(|| model.clone());
            assert_eq!(*first, model, "{position}");
        }
    }
    let models: Vec<&String> = by.values().collect();
    let changes = models.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(changes, 2, "there and back");
    cluster.settle().await;
    for replica in &cluster.replicas {
        let (_, info) = replica.ask(Method::GET, "/info").await;
        assert_eq!((&info["model_id"], &info["standby"]["model"]), (&old, &new));
        assert_eq!(info["standby"]["missing"], 0);
    }
    println!(
        "{answers} searches at {} positions, {stored} images stored meanwhile",
        by.len()
    );
}
