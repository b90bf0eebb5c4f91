//! Writers store, replace and delete images over HTTP while the server is killed again and again.
//! Acknowledged writes must be complete; an interrupted write must be complete or absent.

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

/// The version of an image, or none if it does not exist.
type State = Option<usize>;

/// The images of one writer.
#[derive(Clone, Default)]
struct Writer {
    number: usize,
    /// The number of the last write.
    version: usize,
    acknowledged: BTreeMap<usize, State>,
    /// The write that was not acknowledged before the kill.
    under_way: Option<(usize, State)>,
    /// Acknowledged codes, by version.
    codes: BTreeMap<usize, Value>,
}

impl Writer {
    fn id(&self, image: usize) -> String {
        format!("{}-{image}", self.number)
    }

    fn state(&self, image: usize) -> State {
        self.acknowledged.get(&image).copied().flatten()
    }

    /// Writes until the server no longer responds, which may happen only after a kill. Counts
    /// acknowledged writes in `written`.
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
            let address = format!("{url}/images/{}", self.id(image));
            let request = match state {
                Some(version) => client
                    .request(Method::PUT, format!("{address}?label=version-{version}"))
                    .body(picture(self.number, version)),
                None => client.delete(address),
            };
            self.under_way = Some((image, state));
            let Ok(answer) = request.send().await else {
                assert!(
                    killed.load(Ordering::Acquire),
                    "the server hung up before the kill"
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
            // The head of the response is the acknowledgement. Its body may have been cut off.
            if let (Some(version), Ok(answer)) = (state, answer.json::<Value>().await) {
                self.codes.insert(version, answer["codes"].clone());
            }
        }
    }
}

/// Returns a picture of noise that no other version has: 4 to 64 pixels per side, sometimes 256.
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
async fn kills_lose_no_acknowledged_write_and_leave_no_partial_one() {
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
        // Some servers are also killed while they open the store.
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
        // After a number of writes, not a time, so that a slow machine writes as much.
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

/// Waits until there are as many originals on disk, unfinished ones included, as records.
async fn no_more_originals_than_records(server: &TestServer, writers: &[Writer]) {
    let known = writers.iter().flat_map(|w| w.acknowledged.values());
    let known = known.filter(|state| state.is_some()).count();
    let place = server.folder.path().join("data/originals");
    // The file that names their store is next to them.
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

/// Compares all that the server shows with the acknowledged writes. Counts the interrupted writes
/// that were done, and takes them as acknowledged from then on.
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
                "{id}: the original differs"
            );
            assert_eq!(record["bytes"], bytes.len(), "{id}");
            if let Some(codes) = writer.codes.get(&version) {
                assert_eq!(&record["codes"], codes, "{id}: the codes differ");
            }
        }
        writer.under_way = None;
    }
    let known = writers.iter().flat_map(|w| w.acknowledged.values());
    let known = known.filter(|state| state.is_some()).count();
    assert_eq!(records.len(), known, "there are images that nobody stored");
    done
}

/// Asserts that an image is as acknowledged, or as the interrupted write would make it; returns 1
/// in the second case.
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

/// Asserts that searches by each length find every record with its code, and nothing else.
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
