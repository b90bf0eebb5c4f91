//! Data folders and exports that earlier programs wrote, kept in fixtures by their schema and format: they open with today's program, whole,
//! whatever is killed when. And a store that is made anew to give space back. Knows what was stored in them, and files as an operator sees them.

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

/// The photographs that were stored, by number.
const STORED: [&str; 7] = [
    "cat/0000",
    "cat/0007",
    "cat/0014",
    "cat/0021",
    "cat/0028",
    "cat/0035",
    "ship/0002",
];

/// A data folder as a program of a schema left it, with the model that made its codes.
fn old(schema: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = server::root().join(format!("tests/fixtures/stores/{schema}.tar.gz"));
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

fn told(command: &str, folder: &Path, more: &[&str]) -> String {
    let output = run(command, folder, more);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compares all that a service has with what was stored: seven images, every third again, one deleted, one relabelled.
async fn whole(server: &TestServer) {
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
        // They were stored before this file was written.
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

#[tokio::test]
async fn stores_of_every_schema_open_with_todays_program() {
    for schema in [1, 2, 3, 4] {
        let folder = old(schema);
        let dry = told("migrate", folder.path(), &["--dry-run"]);
        let expected = match schema {
            3 | 4 => "of this version".to_owned(),
            _ => format!(
                "6 images of model 5470b5afce2f would be stored anew, from schema {schema} to 5"
            ),
        };
        assert!(dry.contains(&expected), "{dry}");
        let mut server = TestServer::start_in(folder, &[]);
        whole(&server).await;
        let info = server.client.get(server.at("/info")).send().await.unwrap();
        let info: Value = info.json().await.unwrap();
        assert_eq!(
            (&info["index"]["schema"], &info["index"]["damage"]),
            (&json!(5), &json!([]))
        );
        server.terminate();
        let folder = server.kill();
        let fsck = told("fsck", folder.path(), &[]);
        assert!(fsck.contains("6 images, 0 things damaged"), "{fsck}");
        let again = told("migrate", folder.path(), &[]);
        assert!(again.contains("of this version"), "{again}");
        if schema < 3 {
            // The old store is there as it was.
            let kept = folder.path().join("data/before-schema-5");
            let before = tempfile::tempdir().unwrap();
            fs::rename(kept, before.path().join("data")).unwrap();
            let said = told("migrate", before.path(), &[]);
            assert!(
                said.contains("6 images of model 5470b5afce2f were stored anew"),
                "{said}"
            );
        }
    }
}

/// What `export` wrote when its form was new; the store was the one of schema 3.
#[tokio::test]
async fn an_export_comes_back_in_todays_program() {
    let folder = tempfile::tempdir().unwrap();
    server::model_of_fixtures(folder.path());
    let file = server::root().join("tests/fixtures/exports/1.tar");
    let said = told("import", folder.path(), &[file.to_str().unwrap()]);
    assert!(
        said.contains("6 images of model 5470b5afce2f are in"),
        "{said}"
    );
    whole(&TestServer::start_in(folder, &[])).await;
}

#[tokio::test]
async fn a_migration_or_a_compaction_that_is_killed_leaves_the_old_store_or_the_new_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for (command, schema) in [("migrate", 1), ("migrate", 2), ("compact", 3)] {
        let (mut folder, mut cut_off) = (old(schema), 0);
        for _ in 0..8 {
            let mut program = server::scihcgrl();
            program
                .arg(command)
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
            // Of a migration the next start goes on; to see it cut off more often, it begins with the old store then.
            if folder.path().join("data/before-schema-5").exists() {
                whole(&TestServer::start_in(folder, &[])).await;
                folder = old(schema);
            }
        }
        whole(&TestServer::start_in(folder, &[])).await;
        println!("{command} of schema {schema}: cut off {cut_off} of 8 times");
        assert!(cut_off > 0);
    }
}

#[tokio::test]
async fn a_compacted_store_has_what_it_had_in_less_space() {
    let mut server = TestServer::start_in(old(3), &[]);
    for number in 0..3000 {
        let id = number % 100;
        let body = json!({ "payload": { "number": number, "text": "x".repeat(500) } });
        let at = server.at(&format!("/images/image-{}", [0, 1, 3][id % 3]));
        let patch = server.client.patch(at).json(&body).send().await.unwrap();
        assert_eq!(patch.status(), 200);
    }
    let before: Value = server.ask(Method::GET, "/images").await.1;
    server.terminate();
    let folder = server.kill();
    let said = told("compact", folder.path(), &[]);
    let sizes: Vec<u64> = said
        .split(' ')
        .filter_map(|word| word.trim().parse().ok())
        .collect();
    println!("{said}");
    assert!(sizes[1] < sizes[0], "{said}");
    assert!(told("fsck", folder.path(), &[]).contains("0 things damaged"));
    let server = TestServer::start_in(folder, &[]);
    assert_eq!(server.ask(Method::GET, "/images").await.1, before);
}

#[test]
fn a_store_of_a_newer_program_is_refused_in_words_and_left_alone() {
    let folder = old(3);
    let db = sled::open(folder.path().join("data")).unwrap();
    db.insert("mschema", "6").unwrap();
    db.flush().unwrap();
    drop(db);
    for command in ["migrate", "fsck"] {
        let output = run(command, folder.path(), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(
            said.contains(
                "has schema 6, and this program reads schema 5; a newer program wrote it"
            ),
            "{said}"
        );
    }
}
