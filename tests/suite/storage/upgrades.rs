//! Data folders and exports of earlier versions, kept in fixtures by schema and format: they open
//! completely in this version, or are refused. And compaction, which rewrites a store to save
//! space.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Output, Stdio},
    thread,
    time::Duration,
};

use crate::server::{self, TestServer};
use flate2::read::GzDecoder;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The stored photographs, by number.
const STORED: [&str; 7] = [
    "cat/0000",
    "cat/0007",
    "cat/0014",
    "cat/0021",
    "cat/0028",
    "cat/0035",
    "ship/0002",
];

/// Unpacks a data folder of schema 6, with the model that made its codes.
fn previous_data() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = server::root().join("tests/fixtures/stores/6.tar.gz");
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(file).unwrap())
        .read_to_end(&mut bytes)
        .unwrap();
    tar::Archive::new(&bytes[..])
        .unpack(folder.path().join("data"))
        .unwrap();
    server::model_of_fixtures(folder.path());
    folder
}

fn run(command: &str, folder: &Path, more: &[&str]) -> Output {
    let mut program = server::scihcgrl();
    program
        .arg(command)
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(more);
    program.output().unwrap()
}

fn run_ok(command: &str, folder: &Path, more: &[&str]) -> String {
    let output = run(command, folder, more);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compares all images of a service with the stored ones: seven images, of which every third was
/// stored twice, one deleted and one relabelled.
async fn assert_complete(server: &TestServer) {
    let (_, page) = server.ask(Method::GET, "/images").await;
    let images = page["images"].as_array().unwrap();
    let ids: Vec<&str> = images
        .iter()
        .map(|image| image["id"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids,
        [
            "image-0", "image-1", "image-3", "image-4", "image-5", "image-6"
        ]
    );
    for image in images {
        let number: usize = image["id"].as_str().unwrap()[6..].parse().unwrap();
        let (class, _) = STORED[number].split_once('/').unwrap();
        let labels = match number {
            4 => json!(["patched"]),
            _ => json!([
                class,
                format!("round-{}", u8::from(number.is_multiple_of(3)))
            ]),
        };
        let payload = match number % 2 {
            0 => json!({ "n": number }),
            _ => Value::Null,
        };
        assert_eq!(
            (&image["labels"], &image["payload"]),
            (&labels, &payload),
            "{image}"
        );
        let times = ["created_at_ms", "updated_at_ms"].map(|name| image[name].as_u64().unwrap());
        // They were stored before this test was written.
        assert!(
            times[0] <= times[1] && times[1] < 1_795_700_000_000,
            "{image}"
        );
        let file = server::root().join(format!("samples/gallery/{}.jpg", STORED[number]));
        let photo = fs::read(file).unwrap();
        let content = server.at(&format!("/images/image-{number}/content"));
        let content = server.client.get(content).send().await.unwrap();
        assert_eq!(content.bytes().await.unwrap(), photo);
        let search = server
            .client
            .post(server.at("/search?radius=0"))
            .body(photo);
        let found: Value = search.send().await.unwrap().json().await.unwrap();
        let mut found = found["matches"].as_array().unwrap().iter();
        assert!(found.any(|found| found["id"] == image["id"]));
    }
}

/// The fixture has a standby generation. The previous schema had no fields.
#[tokio::test]
async fn a_store_of_the_previous_schema_is_upgraded() {
    let mut server = TestServer::start_in(previous_data(), &[]);
    assert_complete(&server).await;
    let info = server.client.get(server.at("/info")).send().await.unwrap();
    let info: Value = info.json().await.unwrap();
    assert_eq!(
        (&info["index"]["schema"], &info["index"]["damage"]),
        (&json!(7), &json!([]))
    );
    assert_eq!(
        info["standby"],
        json!({ "model": "c087b9d677c0", "generation": 3, "missing": 0 })
    );
    server.terminate();
    let folder = server.kill();
    let fsck = run_ok("fsck", folder.path(), &[]);
    assert!(fsck.contains("6 images, 0 things damaged"), "{fsck}");
    assert_complete(&TestServer::start_in(folder, &[])).await;
}

/// An export of the first format, from a store of schema 3.
#[tokio::test]
async fn an_export_of_the_first_format_can_be_imported() {
    let folder = tempfile::tempdir().unwrap();
    server::model_of_fixtures(folder.path());
    let file = server::root().join("tests/fixtures/exports/1.tar");
    let stderr = run_ok("import", folder.path(), &[file.to_str().unwrap()]);
    assert!(
        stderr.contains("6 images of model 5470b5afce2f are in"),
        "{stderr}"
    );
    assert_complete(&TestServer::start_in(folder, &[])).await;
}

#[tokio::test]
async fn a_killed_compaction_leaves_the_old_store_or_the_new_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let (folder, mut cut_off) = (previous_data(), 0);
    for _ in 0..8 {
        let mut program = server::scihcgrl();
        program
            .arg("compact")
            .arg("--data-dir")
            .arg(folder.path().join("data"));
        let mut process = program
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(rng.random_range(5..500)));
        process.kill().unwrap();
        cut_off += usize::from(!process.wait().unwrap().success());
    }
    assert_complete(&TestServer::start_in(folder, &[])).await;
    println!("{cut_off} of 8 kills came before the end");
    assert!(cut_off > 0);
}

#[tokio::test]
async fn a_compacted_store_has_the_same_content_in_less_space() {
    let mut server = TestServer::start_in(previous_data(), &[]);
    for number in 0..3000 {
        let id = number % 100;
        let body = json!({ "payload": { "number": number, "text": "x".repeat(500) } });
        let url = server.at(&format!("/images/image-{}", [0, 1, 3][id % 3]));
        let patch = server.client.patch(url).json(&body).send().await.unwrap();
        assert_eq!(patch.status(), 200);
    }
    let before: Value = server.ask(Method::GET, "/images").await.1;
    server.terminate();
    let folder = server.kill();
    let stderr = run_ok("compact", folder.path(), &[]);
    let sizes: Vec<u64> = stderr
        .split(' ')
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    println!("{stderr}");
    assert!(sizes[1] < sizes[0], "{stderr}");
    assert!(run_ok("fsck", folder.path(), &[]).contains("0 things damaged"));
    let server = TestServer::start_in(folder, &[]);
    assert_eq!(server.ask(Method::GET, "/images").await.1, before);
}

#[test]
fn a_store_of_any_other_schema_is_refused_and_unchanged() {
    let folder = previous_data();
    for (schema, words) in [
        (
            "8",
            "has schema 8, but this version reads schema 7; it was written by a newer version",
        ),
        (
            "5",
            "has schema 5, but this version reads schema 7; export it with the version",
        ),
    ] {
        let db = sled::open(folder.path().join("data")).unwrap();
        db.insert("mschema", schema).unwrap();
        db.flush().unwrap();
        drop(db);
        let output = run("fsck", folder.path(), &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains(words),
            "{stderr}"
        );
        let db = sled::open(folder.path().join("data")).unwrap();
        assert_eq!(db.get("mschema").unwrap().unwrap(), schema);
    }
}
