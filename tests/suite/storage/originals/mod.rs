//! Originals in a folder or in S3: each exists exactly as long as its record, even if services are
//! killed or the storage fails.

pub mod s3;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::server::{self, TestServer};
use image::{ImageFormat, RgbImage};
use reqwest::blocking::Response;
use s3::S3;
use serde_json::Value;
use tempfile::TempDir;

/// Returns a picture that no other number has.
fn picture(number: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = RgbImage::from_pixel(8, 8, [number, 7, 99].into());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn url(server: &TestServer, id: &str) -> String {
    server.at(&format!("/images/{id}"))
}

fn put(server: &TestServer, id: &str, number: u8) -> Response {
    let request = server::blocking_client()
        .put(url(server, id))
        .body(picture(number));
    request.send().unwrap()
}

fn content(server: &TestServer, id: &str) -> Response {
    let address = format!("{}/content", url(server, id));
    server::blocking_client().get(address).send().unwrap()
}

/// Returns all files under a folder, unfinished ones included.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Waits until there are this many files or keys. Unreferenced originals are removed soon, but not
/// at once.
fn wait_for_count(count: usize, count_now: impl Fn() -> usize) {
    server::eventually_blocking(&format!("{count} files or keys"), || {
        (count_now() == count).then_some(())
    });
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    folder
}

fn fsck(folder: &Path, more: impl FnOnce(&mut Command) -> &mut Command) -> (bool, String) {
    let mut fsck = Command::new(env!("CARGO_BIN_EXE_scihcgrl"));
    fsck.arg("fsck").arg("--data-dir").arg(folder.join("data"));
    let output = more(&mut fsck).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn a_folder_holds_one_original_for_each_image() {
    let server = TestServer::start_in(folder(), &[]);
    let place = server.folder.path().join("data/originals");
    for number in 0..5 {
        assert_eq!(put(&server, &format!("i{number}"), number).status(), 201);
    }
    wait_for_count(1 + 5, || files(&place).len());
    let tag = content(&server, "i1").headers()["etag"].clone();
    assert_eq!(put(&server, "i1", 101).status(), 200);
    assert_eq!(
        server::blocking_client()
            .delete(url(&server, "i2"))
            .send()
            .unwrap()
            .status(),
        204
    );
    wait_for_count(1 + 4, || files(&place).len());
    let now = content(&server, "i1");
    assert_ne!(now.headers()["etag"], tag, "another upload has another tag");
    assert_eq!(now.bytes().unwrap(), picture(101));
    assert_eq!(content(&server, "i2").status(), 404);

    // Leftovers of a killed service: an unfinished original, and one without a record.
    let left = server.kill();
    let store = fs::read_dir(&place)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let block = store.join("00000000");
    for name in ["0a#1", "0b"] {
        fs::write(block.join(name), "left behind").unwrap();
    }
    let server = TestServer::start_in(left, &[]);
    wait_for_count(1 + 4, || files(&place).len());
    assert_eq!(content(&server, "i1").bytes().unwrap(), picture(101));

    // A missing original is reported by the service and by `fsck`.
    let left = server.kill();
    let mut originals = files(&store);
    originals.retain(|path| !path.ends_with("scihcgrl"));
    fs::write(store.join("00000000/0c"), "left behind").unwrap();
    let (whole, output) = fsck(left.path(), |fsck| fsck);
    let unused = "the original 00000000/0c: no image has it; 11 bytes";
    assert!(whole && output.contains(unused), "{output}");
    fs::remove_file(originals.iter().min().unwrap()).unwrap();
    let (whole, output) = fsck(left.path(), |fsck| fsck);
    assert!(
        !whole && output.contains("the original 00000000/00: it is missing"),
        "{output}"
    );
    let server = TestServer::start_in(left, &[]);
    let problem = content(&server, "i0");
    assert_eq!(problem.status(), 500);
    assert_eq!(problem.json::<Value>().unwrap()["code"], "internal");
    assert_eq!(content(&server, "i3").status(), 200);
}

#[test]
fn a_wrong_place_of_originals_is_refused_with_a_reason() {
    let server = TestServer::start_in(folder(), &[]);
    put(&server, "first", 1).error_for_status().unwrap();
    let left = server.kill();
    let model = left.path().join("model.safetensors");
    let elsewhere = left.path().join("elsewhere").display().to_string();
    for (place, words) in [
        (elsewhere.as_str(), "are not at"),
        ("memory:///", "give a folder, or a URL"),
        ("ftp://somewhere/else", "give a folder, or a URL"),
        ("/dev/null/folder", "give a folder, or a URL"),
    ] {
        let mut start = server::program(left.path(), &model);
        let output = start.args(["--originals", place]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(words),
            "{place}: {error}"
        );
    }
    // After a move to that place they are found.
    fs::remove_dir_all(&elsewhere).unwrap();
    fs::rename(left.path().join("data/originals"), &elsewhere).unwrap();
    let url = format!("file://{elsewhere}");
    let server = TestServer::start_in(left, &["--originals", &url]);
    assert_eq!(content(&server, "first").bytes().unwrap(), picture(1));
}

#[test]
fn s3_holds_the_originals_of_all_records_through_kills_and_outages() {
    let s3 = S3::start();
    let place = format!("s3://{}/some/path", S3::BUCKET);
    let start = |folder| {
        TestServer::start_with(folder, |program| {
            program.args(["--originals", &place]).envs(s3.settings())
        })
    };
    let mut folder = folder();
    let mut acknowledged: BTreeMap<String, u8> = BTreeMap::new();
    for round in 0..server::times(4, 6) {
        let server = start(folder);
        for (id, number) in &acknowledged {
            assert_eq!(
                content(&server, id).bytes().unwrap(),
                picture(*number),
                "{id}"
            );
        }
        // Kill it while it writes.
        let written = Arc::new(AtomicUsize::new(0));
        let writer = {
            let (url, written) = (server.url.clone(), written.clone());
            thread::spawn(move || {
                let mut done = Vec::new();
                for number in 0u8.. {
                    let (id, number) = (format!("{}", number % 9), number + round);
                    let address = format!("{url}/images/{id}");
                    match server::blocking_client()
                        .put(address)
                        .body(picture(number))
                        .send()
                    {
                        Ok(answer) => assert!(answer.status().is_success()),
                        Err(_) => return (done, Some((id, number))),
                    }
                    done.push((id, number));
                    written.store(done.len(), Ordering::Relaxed);
                }
                (done, None)
            })
        };
        let enough = 3 * usize::from(round) + 2;
        server::eventually_blocking(&format!("{enough} writes"), || {
            (written.load(Ordering::Relaxed) >= enough).then_some(())
        });
        thread::sleep(Duration::from_millis(7 * u64::from(round)));
        folder = server.kill();
        let (done, under_way) = writer.join().unwrap();
        acknowledged.extend(done);
        if let Some((id, number)) = under_way {
            let server = start(folder);
            let found = content(&server, &id);
            if found.status() == 200 && found.bytes().unwrap() == picture(number) {
                acknowledged.insert(id, number);
            }
            folder = server.kill();
        }
    }
    assert_eq!(acknowledged.len(), 9, "the writers hardly ran");
    let server = start(folder);
    wait_for_count(1 + acknowledged.len(), || s3.keys().len());
    assert!(s3.keys().iter().all(|key| key.starts_with("some/path/")));
    server::blocking_client()
        .delete(url(&server, "3"))
        .send()
        .unwrap();
    wait_for_count(acknowledged.len(), || s3.keys().len());
    let left = server.kill();
    let checked = fsck(left.path(), |fsck| {
        fsck.args(["--originals", &place]).envs(s3.settings())
    });
    assert!(checked.0, "{}", checked.1);

    // Without S3, requests that need no original are served. The others are refused and can be
    // retried.
    let server = start(left);
    drop(s3);
    let search = server::blocking_client()
        .post(server.at("/search"))
        .body(picture(1));
    assert_eq!(search.send().unwrap().status(), 200);
    let refused = server::blocking_client()
        .put(url(&server, "new"))
        .body(picture(1))
        .send()
        .unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(
        refused.json::<Value>().unwrap()["code"],
        "originals_unavailable"
    );
    assert_eq!(
        server::blocking_client()
            .get(url(&server, "new"))
            .send()
            .unwrap()
            .status(),
        404
    );
}
