//! A disk fills up during writes and is freed again: acknowledged writes are kept, and writes
//! resume by themselves. Relies on sled's log being the growing file `db`.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::json;

use crate::{
    api::Index,
    code::{HashCode, Length},
    types::{
        config::{IndexConfig, Requirement, SketchStorage},
        error::IndexError,
        query::ListQuery,
        record::{Codes, NewImage},
        revision::Precondition,
    },
};

/// True if space is reserved after the log. If not, the free space is only checked, as on a file
/// system that cannot reserve.
static RESERVES: AtomicBool = AtomicBool::new(true);

pub fn reserves() -> bool {
    RESERVES.load(Ordering::Relaxed)
}

/// Set in the process that has a small disk mounted.
const INSIDE: &str = "FULL_DISK";
const DISK_BYTES: &str = "size=48m";

/// Runs a test in a process with its own mounts and a small disk at the given path.
fn on_a_small_disk(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && exec \"$3\" --exact \"$4\" --nocapture";
    let ran = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-ec",
            script,
            "sh",
            DISK_BYTES,
        ])
        .arg(folder.path())
        .arg(env::current_exe().unwrap())
        .arg(format!("disk::engine::disk_space::tests::{test}"))
        .env(INSIDE, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// The small disk, if this process has one.
fn disk() -> Option<PathBuf> {
    env::var_os(INSIDE).map(PathBuf::from)
}

/// Fills the disk until only `left` bytes are free.
fn fill(disk: &Path, name: &str, left: u64) {
    let filling = File::create(disk.join(name)).unwrap();
    let mut bytes = 0;
    loop {
        let room = statvfs(disk).unwrap();
        let free = (room.f_bfree * room.f_frsize).saturating_sub(left);
        if free == 0 || fallocate(&filling, FallocateFlags::empty(), bytes, free).is_ok() {
            return;
        }
        bytes = filling.metadata().unwrap().len();
    }
}

fn make_room(disk: &Path, name: &str) {
    let _ = fs::remove_file(disk.join(name));
}

fn open(disk: &Path) -> Index {
    let opened = Index::open(IndexConfig {
        path: disk.join("store"),
        model: Requirement::Exact("0123456789ab".to_owned()),
        precision: Requirement::Exact("fp32".to_owned()),
        lengths: vec![Length::L24],
        sketch: None,
        sketch_storage: Some(SketchStorage::Memory),
        gallery: None,
        cache_bytes: 16 << 20,
    });
    opened.unwrap()
}

fn id(number: usize) -> crate::ImageId {
    format!("image-{number}").parse().unwrap()
}

/// An image whose payload contains its version.
fn version(number: usize, version: usize) -> NewImage {
    NewImage {
        id: id(number),
        codes: vec![Codes {
            generation: 1,
            codes: vec![HashCode::from_word(Length::L24, number as u64)],
            sketch: None,
        }],
        labels: vec!["a".to_owned()],
        payload: Some(json!({ "version": version, "text": "x".repeat(9000) })),
        media_type: "image/png".to_owned(),
        bytes: 1,
        original: None,
        times: None,
    }
}

fn version_of(index: &Index, number: usize) -> Option<u64> {
    let record = index.get(&id(number)).unwrap()?;
    record.payload?["version"].as_u64()
}

/// Retries a write until it is stored.
async fn write_soon(index: &Index, number: usize) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match index.put(version(number, 0)).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < end, "{error}: {:?}", index.stats()),
        }
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_full_disk_refuses_writes_and_answers_reads_until_it_is_freed() {
    let Some(disk) = disk() else {
        return on_a_small_disk("a_full_disk_refuses_writes_and_answers_reads_until_it_is_freed");
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let index = open(&disk);
        index.put(version(1, 1)).await.unwrap();
        fill(&disk, "rest", 0);
        let error = loop {
            if let Err(error) = index.put(version(1, 1)).await {
                break error;
            }
        };
        assert!(error.is_disk_full(), "{error}");
        assert!(!index.has_disk_space() && index.stats().disk_full);
        let deleted = index.delete(id(1), Precondition::default()).await;
        assert!(deleted.is_err_and(|error| error.is_disk_full()));
        assert_eq!(version_of(&index, 1), Some(1));
        make_room(&disk, "rest");
        assert!(index.has_disk_space() && !index.stats().disk_full);
        index.put(version(1, 2)).await.unwrap();
        assert_eq!(version_of(&index, 1), Some(2));
    });
}

#[test]
fn full_disks_lose_nothing_if_space_is_reserved() {
    let test = "full_disks_lose_nothing_if_space_is_reserved";
    disk().map_or_else(
        || on_a_small_disk(test),
        |disk| fill_repeatedly(&disk, true),
    );
}

#[test]
fn full_disks_lose_nothing_if_groups_run_into_them() {
    let test = "full_disks_lose_nothing_if_groups_run_into_them";
    disk().map_or_else(
        || on_a_small_disk(test),
        |disk| fill_repeatedly(&disk, false),
    );
}

/// Four writers put, replace and delete images while the disk is filled and freed repeatedly.
fn fill_repeatedly(disk: &Path, reserves: bool) {
    RESERVES.store(reserves, Ordering::Relaxed);
    const WRITERS: usize = 4;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let index = open(disk);
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let (mut refused, mut reopened) = (0, 0);
        // Readers run all the time, with payloads, so that sled is rarely unused.
        let reads = Arc::new(AtomicBool::new(true));
        let readers: Vec<_> = (0..2)
            .map(|reader| {
                let (index, reads) = (index.clone(), reads.clone());
                std::thread::spawn(move || {
                    for number in (reader..).step_by(2) {
                        if !reads.load(Ordering::Relaxed) {
                            return;
                        }
                        let read = index.get(&id(10 + number % 200));
                        let is_read = read.is_ok() || matches!(read, Err(IndexError::Reopening));
                        assert!(is_read, "{read:?}");
                    }
                })
            })
            .collect();
        // A round takes almost a second, so `make check` runs fewer.
        let quick = cfg!(debug_assertions) && env::var_os("TEST_LONG").is_none();
        let rounds = if quick { 10 } else { 50 };
        // Runs at least these rounds, and until sled has run into a full disk if that is possible.
        for round in 0..1000 {
            if round >= rounds && refused > 100 && (reserves || reopened > 1) {
                break;
            }
            let stop = Arc::new(AtomicBool::new(false));
            let written = Arc::new(AtomicUsize::new(0));
            // The known version of each image. An image is missing here if a write of it failed,
            // which may have been stored all the same.
            let known = Arc::new(Mutex::new(HashMap::<usize, Option<u64>>::new()));
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (index, stop) = (index.clone(), stop.clone());
                    let (known, written) = (known.clone(), written.clone());
                    tokio::spawn(async move {
                        let mut failures = 0;
                        for number in 0.. {
                            if stop.load(Ordering::Relaxed) {
                                break;
                            }
                            let image = 10 + WRITERS * (number % 50) + writer;
                            let done = match number % 7 {
                                6 => {
                                    let deleted = index.delete(id(image), Precondition::default());
                                    deleted.await.map(|_| None)
                                }
                                _ => {
                                    let put = index.put(version(image, number + 1)).await;
                                    put.map(|_| Some(number as u64 + 1))
                                }
                            };
                            let mut known = known.lock().unwrap();
                            match done {
                                Ok(version) => {
                                    written.fetch_add(1, Ordering::Relaxed);
                                    known.insert(image, version);
                                }
                                Err(error) => {
                                    assert!(error.is_temporary(), "{error:?}");
                                    failures += 1;
                                    known.remove(&image);
                                }
                            }
                        }
                        failures
                    })
                })
                .collect();
            while written.load(Ordering::Relaxed) < random.random_range(1..200) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            fill(disk, "most", 20 << 20);
            for _ in 0..20 {
                make_room(disk, "rest");
                sleep(Duration::from_micros(random.random_range(0..3000)));
                fill(disk, "rest", 0);
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(1..60))).await;
            // Reads are answered whatever happens to writes.
            let found = index.list(&ListQuery {
                filter: None,
                order_by: None,
                after: None,
                limit: 3,
            });
            assert!(
                found.is_ok() || matches!(found, Err(IndexError::Reopening)),
                "{found:?}"
            );
            make_room(disk, "most");
            make_room(disk, "rest");
            write_soon(&index, round % 10).await;
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                refused += writer.await.unwrap();
            }
            for (&number, &version) in known.lock().unwrap().iter() {
                assert_eq!(
                    version_of(&index, number),
                    version,
                    "image {number} in round {round}"
                );
            }
            reopened = index.stats().opened;
            let damage = index.verify().unwrap();
            assert!(damage.is_empty(), "{damage:?}");
        }
        reads.store(false, Ordering::Relaxed);
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
        println!("{refused} writes were refused, and the store was opened {reopened} times");
        assert!(refused > 100 && (reserves || reopened > 1));
        let before: Vec<_> = (0..300).map(|number| version_of(&index, number)).collect();
        index.close().unwrap();
        drop(index);
        let index = open(disk);
        assert!(index.stats().damage.is_empty());
        let after: Vec<_> = (0..300).map(|number| version_of(&index, number)).collect();
        assert_eq!(before, after);
    });
}
