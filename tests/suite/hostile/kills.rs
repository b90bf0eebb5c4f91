//! Writers store, replace and delete images over HTTP, and the server is killed under them, again and again on one data folder.
//! Knows what was acknowledged and what was under way: the first has to be there, whole, and the second whole or not at all.

use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use image::{ImageFormat, RgbImage};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::server::{self, TestServer};

const WRITERS: usize = 6;
const IDS: usize = 25;

/// What an image is: a version of it, or none.
type State = Option<usize>;

/// What is known of a writer's images.
#[derive(Clone, Default)]
struct Writer {
    number: usize,
    /// The next version.
    version: usize,
    acknowledged: BTreeMap<usize, State>,
    /// What was not acknowledged when the server was killed.
    under_way: Option<(usize, State)>,
    /// As acknowledged, by version.
    codes: BTreeMap<usize, Value>,
}

impl Writer {
    fn id(&self, image: usize) -> String {
        format!("{}-{image}", self.number)
    }

    fn state(&self, image: usize) -> State {
        self.acknowledged.get(&image).copied().flatten()
    }

    /// Writes until the server no longer answers, which it may do only once it is killed.
    /// Counts what is acknowledged in `written`.
    async fn write(
        mut self,
        client: Client,
        url: String,
        written: Arc<AtomicUsize>,
        killed: Arc<AtomicBool>,
    ) -> Self {
        loop {
            self.version += 1;
            let mut rng =
                ChaCha8Rng::seed_from_u64((self.number * 1_000_000 + self.version) as u64);
            let image = rng.random_range(0..IDS);
            let state = (!rng.random_ratio(1, 8)).then_some(self.version);
            let at = format!("{url}/images/{}", self.id(image));
            let request = match state {
                Some(version) => client
                    .request(Method::PUT, format!("{at}?label=version-{version}"))
                    .body(picture(self.number, version)),
                None => client.delete(at),
            };
            self.under_way = Some((image, state));
            let Ok(answer) = request.send().await else {
                assert!(
                    killed.load(Ordering::Acquire),
                    "it hung up while it was alive"
                );
                return self;
            };
            let expected: &[u16] = match (state, self.state(image)) {
                (None, None) => &[404],
                (None, Some(_)) => &[204],
                (Some(_), None) => &[201],
                (Some(_), Some(_)) => &[200],
            };
            let status = answer.status().as_u16();
            assert!(expected.contains(&status), "{status}");
            self.acknowledged.insert(image, state);
            self.under_way = None;
            written.fetch_add(1, Ordering::Relaxed);
            // The head of the answer is the acknowledgement; its body may have been cut off.
            if let (Some(version), Ok(answer)) = (state, answer.json::<Value>().await) {
                self.codes.insert(version, answer["codes"].clone());
            }
        }
    }
}

/// A file that no other version has: noise, of sides between 4 and 64 pixels, and a large one now and then.
fn picture(writer: usize, version: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64((version * 1000 + writer) as u64);
    let side = if rng.random_ratio(1, 50) {
        256
    } else {
        rng.random_range(4..=64)
    };
    let mut noise = vec![0; (side * side * 3) as usize];
    rng.fill_bytes(&mut noise);
    let mut bytes = Cursor::new(Vec::new());
    let picture = RgbImage::from_raw(side, side, noise).unwrap();
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_acknowledged_and_show_no_half() {
    let mut folder = tempfile::tempdir().unwrap();
    let model = server::model(folder.path());
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut writers: Vec<Writer> = (0..WRITERS)
        .map(|number| Writer {
            number,
            ..Writer::default()
        })
        .collect();
    let (mut under_way, mut done) = (0, 0);
    let kills = server::times(15, 100);
    for kill in 0..kills {
        // Beside these, some are killed while they open what the last one left.
        if kill % 10 == 9 {
            let mut opening = server::program(folder.path(), &model)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..1000))).await;
            opening.kill().unwrap();
            opening.wait().unwrap();
        }
        let server = TestServer::start_in(folder, &[]);
        done += check(&server, &mut writers).await;
        let written = Arc::new(AtomicUsize::new(0));
        let killed = Arc::new(AtomicBool::new(false));
        let writing: Vec<_> = writers
            .drain(..)
            .map(|writer| {
                let (client, url) = (server.client.clone(), server.url.clone());
                tokio::spawn(writer.write(client, url, written.clone(), killed.clone()))
            })
            .collect();
        // After so many writes instead of so much time: a slow machine does as many.
        let enough = rng.random_range(0..60);
        server::eventually(&format!("{enough} writes"), async || {
            (written.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_micros(rng.random_range(0..50_000))).await;
        killed.store(true, Ordering::Release);
        folder = server.kill();
        for writer in writing {
            writers.push(writer.await.unwrap());
        }
        under_way += writers.iter().filter(|w| w.under_way.is_some()).count();
    }
    let server = TestServer::start_in(folder, &[]);
    done += check(&server, &mut writers).await;
    no_more_originals_than_records(&server, &writers).await;
    let acknowledged: usize = writers.iter().map(|w| w.version).sum::<usize>() - under_way;
    println!(
        "{kills} kills: {acknowledged} writes acknowledged, {under_way} under way when killed, of which {done} were done"
    );
    assert!(acknowledged > 10 * kills, "the writers hardly ran");
}

/// Waits until the originals on disk, those begun included, are as many as the records: what the kills left behind is removed.
async fn no_more_originals_than_records(server: &TestServer, writers: &[Writer]) {
    let known = writers.iter().flat_map(|w| w.acknowledged.values());
    let known = known.filter(|state| state.is_some()).count();
    let place = server.folder.path().join("data/originals");
    // Beside them lies the mark of whose they are.
    server::eventually(&format!("originals of {known} images"), async || {
        (files(&place) - 1 == known).then_some(())
    })
    .await;
}

fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let count = |path: PathBuf| if path.is_dir() { files(&path) } else { 1 };
    entries.map(|entry| count(entry.path())).sum()
}

/// Compares all that the server shows with what is known, and takes what was done without acknowledgement for known from then on.
/// How many of these there were.
async fn check(server: &TestServer, writers: &mut [Writer]) -> usize {
    let ask = async |method: Method, path: &str| {
        let request = server.client.request(method, server.at(path));
        request.send().await.unwrap()
    };
    let listed: Value = ask(Method::GET, "/images?limit=1000")
        .await
        .json()
        .await
        .unwrap();
    assert!(listed["next"].is_null(), "all are on one page");
    let listed = listed["images"].as_array().unwrap();
    let by_id = |record: &Value| (record["id"].as_str().unwrap().to_owned(), record.clone());
    let records: BTreeMap<_, _> = listed.iter().map(by_id).collect();
    assert_eq!(records.len(), listed.len());
    searchable(server, &records).await;

    let mut done = 0;
    for writer in &mut *writers {
        for image in 0..IDS {
            let id = writer.id(image);
            let path = format!("/images/{id}");
            let content = ask(Method::GET, &format!("{path}/content")).await;
            let known = writer.state(image);
            let Some(record) = records.get(&id) else {
                assert_eq!(content.status(), 404, "{id}: an original without a record");
                done += settle(writer, image, known, None);
                continue;
            };
            let version = record["labels"][0].as_str().unwrap();
            let version = version.strip_prefix("version-").unwrap().parse().unwrap();
            done += settle(writer, image, known, Some(version));
            assert_eq!(content.status(), 200, "{id}: a record without an original");
            let bytes = content.bytes().await.unwrap();
            assert!(
                bytes == picture(writer.number, version),
                "{id}: another original"
            );
            assert_eq!(record["bytes"], bytes.len(), "{id}");
            if let Some(codes) = writer.codes.get(&version) {
                assert_eq!(&record["codes"], codes, "{id}: other codes");
            }
        }
        writer.under_way = None;
    }
    let known = writers.iter().flat_map(|w| w.acknowledged.values());
    let known = known.filter(|state| state.is_some()).count();
    assert_eq!(records.len(), known, "images that nobody stored");
    done
}

/// Asserts that an image is as it was acknowledged, or as the write under way would have made it; one where it is the latter.
fn settle(writer: &mut Writer, image: usize, known: State, found: State) -> usize {
    if found == known {
        return 0;
    }
    let id = writer.id(image);
    assert_eq!(
        Some((image, found)),
        writer.under_way,
        "{id}: {known:?} was acknowledged"
    );
    writer.acknowledged.insert(image, found);
    1
}

/// Asserts that a search by any length finds each record with its code, and nothing else.
async fn searchable(server: &TestServer, records: &BTreeMap<String, Value>) {
    for bits in [24, 32, 48] {
        let code = "0".repeat(bits / 4);
        let path = format!("/search?bits={bits}&radius={bits}&limit=1000");
        let search = server.client.post(server.at(&path));
        let found: Value = search
            .json(&json!({ "code": code }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(found["total"], records.len());
        let matches = found["matches"].as_array().unwrap();
        assert_eq!(matches.len(), records.len());
        for found in matches {
            let id = found["id"].as_str().unwrap();
            assert_eq!(
                found["code"],
                records[id]["codes"][bits.to_string()],
                "{id}"
            );
        }
    }
}
