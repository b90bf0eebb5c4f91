//! Snapshots that are made under writes and restored to empty folders: each is complete and of one
//! moment.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::{
    server::{self, TestServer, samples},
    storage::originals::s3,
};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The number of images, which are rewritten all the time.
const IDS: usize = 24;

fn run(arguments: &[&str], url: &str) -> Output {
    let mut program = server::scihcgrl();
    program.args(arguments).env("SCIHCGRL_URL", url);
    program.output().unwrap()
}

fn run_ok(arguments: &[&str], url: &str) -> String {
    let output = run(arguments, url);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn refused(arguments: &[&str]) -> String {
    let output = run(arguments, "");
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Does the n-th write: every fifth deletes an image, the others store one labelled with the number
/// of the write.
async fn write(client: &Client, url: &str, photos: &[Vec<u8>], number: usize) {
    let address = format!("{url}/images/image-{}", number % IDS);
    let request = match number % 5 {
        4 => client.delete(address),
        _ => client
            .put(format!("{address}?label=write-{number}"))
            .body(photos[number % photos.len()].clone()),
    };
    let status = request.send().await.unwrap().status().as_u16();
    assert!([200, 201, 204, 404].contains(&status), "{status}");
}

/// Returns the images after this many writes, each with the number of its last write.
fn after(writes: usize) -> BTreeMap<String, String> {
    let mut stored_images = BTreeMap::new();
    for number in 0..writes {
        let id = format!("image-{}", number % IDS);
        match number % 5 {
            4 => stored_images.remove(&id),
            _ => stored_images.insert(id, format!("write-{number}")),
        };
    }
    stored_images
}

/// Returns the images of a service; compares every original.
async fn stored_images(server: &TestServer, photos: &[Vec<u8>]) -> BTreeMap<String, String> {
    let (_, page) = server.ask(Method::GET, "/images?limit=1000").await;
    let mut stored_images = BTreeMap::new();
    for image in page["images"].as_array().unwrap() {
        let (id, label) = (
            image["id"].as_str().unwrap(),
            image["labels"][0].as_str().unwrap(),
        );
        let number: usize = label.strip_prefix("write-").unwrap().parse().unwrap();
        let content = server
            .client
            .get(server.at(&format!("/images/{id}/content")));
        let content = content.send().await.unwrap().bytes().await.unwrap();
        assert_eq!(content, photos[number % photos.len()], "{id}");
        stored_images.insert(id.to_owned(), label.to_owned());
    }
    stored_images
}

fn photos() -> Vec<Vec<u8>> {
    let files = ["cat", "ship"].into_iter().flat_map(samples).take(50);
    files.map(|file| fs::read(file).unwrap()).collect()
}

/// A new folder with the model.
fn with_model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_under_writes_is_of_one_moment() {
    let photos = Arc::new(photos());
    let server = TestServer::start().await;
    for number in 0..IDS {
        write(&server.client, &server.url, &photos, number).await;
    }
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(IDS)),
    );
    let writer = {
        let (stop, done, photos) = (stop.clone(), done.clone(), photos.clone());
        let (client, url) = (server.client.clone(), server.url.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let number = done.load(Ordering::SeqCst);
                write(&client, &url, &photos, number).await;
                done.store(number + 1, Ordering::SeqCst);
            }
        })
    };
    // An unfinished snapshot of 2024, left by a killed service, and one that has just been started.
    let snapshots = server.folder.path().join("data/snapshots");
    let young = uuid::Uuid::now_v7().to_string();
    let [left, begun] =
        ["018f0000-0000-7000-8000-000000000000", &young].map(|id| snapshots.join(id));
    for folder in [&left, &begun] {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("store"), "").unwrap();
    }
    let mut made = Vec::new();
    for _ in 0..6 {
        let before = done.load(Ordering::SeqCst);
        let id = run_ok(&["snapshots", "create"], &server.url);
        // One more write may be done although its response has not arrived.
        made.push((id, before, done.load(Ordering::SeqCst) + 1));
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    assert!(!left.exists() && begun.exists());
    fs::remove_dir_all(begun).unwrap();
    let listed = run_ok(&["snapshots", "list"], &server.url);
    assert_eq!(listed.lines().count(), 6, "{listed}");
    assert!(listed.starts_with(&made[5].0), "{listed}");
    let newest = server.metric("scihcgrl_snapshot_timestamp_seconds").await;
    assert!(newest.unwrap() > 1.7e9);
    let mut moments = Vec::new();
    for (id, first, last) in &made {
        let folder = with_model();
        let snapshot = server.folder.path().join("data/snapshots").join(id);
        let target = folder.path().join("data");
        let stderr = run_ok(
            &["import", text(&snapshot), "--data-dir", text(&target)],
            "",
        );
        assert!(stderr.contains(", 0 things damaged"), "{stderr}");
        let restored = TestServer::start_in(folder, &[]);
        let found = stored_images(&restored, &photos).await;
        let moment = (*first..=*last).find(|writes| after(*writes) == found);
        assert!(moment.is_some(), "{first} to {last}: {found:?}");
        moments.push(moment.unwrap() - first);
        // Its service accepts writes.
        write(&restored.client, &restored.url, &photos, 0).await;
    }
    println!(
        "{} writes; the snapshots are of the moments {moments:?} writes after each was asked for",
        done.load(Ordering::SeqCst)
    );
    assert_eq!(
        run_ok(&["snapshots", "prune", "--keep", "2"], &server.url),
        "4 snapshots removed"
    );
    let left = fs::read_dir(server.folder.path().join("data/snapshots")).unwrap();
    assert_eq!(left.count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_named_and_not_served() {
    let photos = photos();
    let server = TestServer::start().await;
    for number in 0..4 {
        write(&server.client, &server.url, &photos, number).await;
    }
    let id = run_ok(&["snapshots", "create"], &server.url);
    let snapshot = server.folder.path().join("data/snapshots").join(&id);
    let (status, manifest) = server
        .ask(Method::GET, &format!("/admin/snapshots/{id}"))
        .await;
    assert_eq!(
        (status.as_u16(), &manifest["images"]),
        (200, &json!(4)),
        "{manifest}"
    );
    let folder = with_model();
    let target = folder.path().join("data");
    let import = ["import", text(&snapshot), "--data-dir", text(&target)];

    let none = refused(&["import", text(folder.path()), "--data-dir", text(&target)]);
    assert!(none.contains("manifest.json is missing"), "{none}");
    fs::create_dir_all(&target).unwrap();
    fs::write(target.join("something"), "").unwrap();
    let full = refused(&import);
    assert!(
        full.contains("is not empty; give an empty folder or a new one"),
        "{full}"
    );
    for file in manifest["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let path = snapshot.join(name);
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        for broken in [changed, whole[..whole.len() - 1].to_vec()] {
            fs::write(&path, broken).unwrap();
            fs::remove_dir_all(&target).unwrap();
            let stderr = refused(&import);
            assert!(
                stderr.contains(&format!("{name} of the snapshot is damaged")),
                "{stderr}"
            );
            // A partial restore is not served.
            let model = folder.path().join("model.safetensors");
            let served = server::program(folder.path(), &model).output().unwrap();
            let stderr = String::from_utf8_lossy(&served.stderr).into_owned();
            assert!(
                stderr.contains("empty the folder and restore it again"),
                "{stderr}"
            );
        }
        fs::write(&path, whole).unwrap();
    }
    let text = fs::read_to_string(snapshot.join("manifest.json")).unwrap();
    fs::write(
        snapshot.join("manifest.json"),
        text.replace("\"format\": 1", "\"format\": 2"),
    )
    .unwrap();
    fs::remove_dir_all(&target).unwrap();
    let newer = refused(&import);
    assert!(
        newer.contains("has format 2; this program reads format 1"),
        "{newer}"
    );
    fs::write(snapshot.join("manifest.json"), text).unwrap();
    assert!(run_ok(&import, "").contains("4 images"));

    for (method, path) in [
        (Method::GET, "/admin/snapshots/of-last-night"),
        (
            Method::DELETE,
            "/admin/snapshots/01990c3e-3f5a-7a10-9d0b-6c1f0a52e7aa",
        ),
    ] {
        let (status, problem) = server.ask(method, path).await;
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (404, &json!("snapshot_not_found"))
        );
    }
    let url = server.at("/admin/snapshots");
    let both = [
        server.client.post(&url).send(),
        server.client.post(&url).send(),
    ];
    let mut statuses = Vec::new();
    for answer in futures_util::future::join_all(both).await {
        let answer = answer.unwrap();
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap();
        assert!(
            status == 201 || problem["code"] == "snapshot_in_progress",
            "{problem}"
        );
        statuses.push(status);
    }
    assert!(statuses.contains(&201), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_refer_to_or_copy_originals_in_a_bucket_and_may_be_in_one() {
    let photos = photos();
    let s3 = tokio::task::spawn_blocking(s3::S3::start).await.unwrap();
    let bucket = format!("s3://{}", s3::S3::BUCKET);
    let (originals, snapshots) = (format!("{bucket}/originals"), format!("{bucket}/snapshots"));
    let places = ["--originals", &originals, "--snapshots", &snapshots];
    let start = |folder, places: &[&str]| {
        TestServer::start_with(folder, |program| program.args(places).envs(s3.settings()))
    };
    let server = start(with_model(), &places);
    for number in 0..10 {
        write(&server.client, &server.url, &photos, number).await;
    }
    for (arguments, more) in [
        (vec![], "elsewhere"),
        (vec!["--originals", "true"], "copied"),
    ] {
        let create = [vec!["snapshots", "create"], arguments].concat();
        let id = run_ok(&create, &server.url);
        let listed = run_ok(&["snapshots", "list"], &server.url);
        assert!(
            listed.starts_with(&id) && listed.lines().next().unwrap().ends_with(more),
            "{listed}"
        );
        let folder = with_model();
        let target = folder.path().join("data");
        let (from, elsewhere) = (format!("{snapshots}/{id}"), folder.path().join("photos"));
        let place = match more {
            "copied" => text(&elsewhere),
            _ => &originals,
        };
        let import = [
            "import",
            &from,
            "--data-dir",
            text(&target),
            "--originals",
            place,
        ];
        let mut program = server::scihcgrl();
        let output = program.args(import).envs(s3.settings()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        let place = place.to_owned();
        let restored = start(folder, &["--originals", &place]);
        assert_eq!(stored_images(&restored, &photos).await, after(10));
    }
    drop(server);
    tokio::task::spawn_blocking(move || drop(s3)).await.unwrap();
}

#[tokio::test]
async fn a_restored_snapshot_has_the_fields() {
    let server = TestServer::start().await;
    server.store(&["cat", "ship"], 2).await;
    let price = r#"{"price": 5}"#;
    let filter = r#"labels = "cat""#;
    run_ok(
        &["change", "--filter", filter, "--payload", price],
        &server.url,
    );
    run_ok(&["fields", "declare", "price", "integer"], &server.url);
    let id = run_ok(&["snapshots", "create"], &server.url);
    let snapshot = server.folder.path().join("data/snapshots").join(id);
    let folder = with_model();
    let data = folder.path().join("data");
    run_ok(&["import", text(&snapshot), "--data-dir", text(&data)], "");
    let restored = TestServer::start_in(folder, &[]);
    for path in ["/admin/fields", "/images?filter=price%20%3C%206"] {
        let (status, answer) = restored.ask(Method::GET, path).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer, server.ask(Method::GET, path).await.1);
    }
    let (_, jobs) = restored.ask(Method::GET, "/admin/jobs").await;
    assert_eq!(jobs["jobs"], json!([]));
}
