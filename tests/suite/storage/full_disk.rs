//! A full disk that gets room again: writes are refused with 507, probes and metrics report it,
//! searches work, and writes resume without a restart. The same for originals that cannot be
//! written.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::{Method, StatusCode};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::json;

use crate::server::{self, TestServer, eventually, samples};

/// Returns a command that runs another one with its own small disk mounted at a path.
pub fn on_a_small_disk(disk: &Path, megabytes: usize, command: &Command) -> Command {
    fs::create_dir_all(disk).unwrap();
    let mut inside = Command::new("unshare");
    let script = "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && shift 2 && exec \"$@\"";
    inside
        .args(["--user", "--map-root-user", "--mount"])
        .args(["sh", "-ec", script, "sh"])
        .arg(format!("size={megabytes}m"))
        .arg(disk)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        inside.env(name, value.unwrap_or_default());
    }
    inside
}

/// Returns the path by which other processes reach a disk that only this process has mounted.
pub fn path_inside(process: &Child, disk: &Path) -> PathBuf {
    let inside = disk.strip_prefix("/").unwrap();
    Path::new(&format!("/proc/{}/root", process.id())).join(inside)
}

/// Fills the disk completely.
pub fn fill(disk: &Path) {
    let filling = File::create(disk.join("filling")).unwrap();
    let mut bytes = 0;
    loop {
        let room = statvfs(disk).unwrap();
        let free = room.f_bfree * room.f_frsize;
        if free == 0 || fallocate(&filling, FallocateFlags::empty(), bytes, free).is_ok() {
            return;
        }
        bytes = filling.metadata().unwrap().len();
    }
}

pub fn make_room(disk: &Path) {
    fs::remove_file(disk.join("filling")).unwrap();
}

async fn put(server: &TestServer, id: &str) -> (StatusCode, String) {
    let picture = fs::read(&samples("cat")[0]).unwrap();
    let put = server.client.put(server.at(&format!("/images/{id}")));
    let answer = put.body(picture).send().await.unwrap();
    let waits = answer.headers().contains_key("retry-after");
    let status = answer.status();
    assert_eq!(waits, status == StatusCode::INSUFFICIENT_STORAGE);
    let problem: serde_json::Value = answer.json().await.unwrap();
    let code = problem["code"].as_str().unwrap_or_default();
    (status, code.to_owned())
}

async fn ready(server: &TestServer) -> (StatusCode, String) {
    let answer = server
        .client
        .get(server.at("/readyz"))
        .send()
        .await
        .unwrap();
    (answer.status(), answer.text().await.unwrap())
}

const FULL: (StatusCode, &str) = (StatusCode::INSUFFICIENT_STORAGE, "disk_full");

#[tokio::test]
async fn writes_are_refused_while_the_disk_is_full_and_resume_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let model = server::model(folder.path());
    let data = folder.path().join("data");
    let serve = server::program(folder.path(), &model);
    let serve = on_a_small_disk(&data, 128, &serve);
    let server = TestServer::start_command(folder, serve);
    let disk = path_inside(server.process(), &data);
    server.store(&["cat"], 2).await;

    fill(&disk);
    for id in ["new", "cat-0"] {
        let (status, code) = put(&server, id).await;
        assert_eq!((status, &*code), FULL);
    }
    // The reserve for writes is used up first.
    let text = "x".repeat(16_000);
    let refused = eventually("a change is refused", async || {
        let patch = server.client.patch(server.at("/images/cat-0"));
        let patch = patch.json(&json!({ "payload": text })).send();
        let answer = patch.await.unwrap();
        (answer.status() != StatusCode::OK).then_some(answer)
    });
    let refused = refused.await;
    assert_eq!(refused.status(), FULL.0);
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], FULL.1);
    let (status, _) = server.ask(Method::DELETE, "/images/cat-1").await;
    assert_eq!(status, FULL.0);
    let job = server.client.post(server.at("/admin/jobs"));
    let job = job.json(&json!({ "kind": "find_duplicates" })).send();
    assert_eq!(job.await.unwrap().status(), FULL.0);

    let (status, text) = ready(&server).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.starts_with("degraded: the disk is full"), "{text}");
    let (status, _) = server.ask(Method::GET, "/livez").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(server.metric("scihcgrl_disk_full").await, Some(1.0));
    assert_eq!(
        server.metric("scihcgrl_originals_unavailable").await,
        Some(1.0)
    );
    let search = server.client.post(server.at("/search"));
    let search = search.json(&json!({ "id": "cat-0" })).send().await.unwrap();
    assert_eq!(search.status(), StatusCode::OK);
    let log = server.log();
    for once in ["writes are refused", "images are refused"] {
        assert_eq!(log.matches(once).count(), 1, "{log}");
    }

    // `index` waits, and says why once.
    let index = server::scihcgrl()
        .arg("index")
        .arg(server::root().join("samples/gallery/dog"))
        .args(["--url", &server.url])
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    make_room(&disk);
    eventually("a write succeeds", async || {
        (put(&server, "new").await.0 == StatusCode::CREATED).then_some(())
    })
    .await;
    let indexed = index.wait_with_output().unwrap();
    let text = String::from_utf8(indexed.stderr).unwrap();
    assert!(indexed.status.success(), "{text}");
    assert_eq!(text.matches("waiting for http").count(), 1, "{text}");
    let (status, _) = server.ask(Method::DELETE, "/images/cat-1").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(ready(&server).await, (StatusCode::OK, "ready\n".to_owned()));
    assert_eq!(server.metric("scihcgrl_disk_full").await, Some(0.0));
    assert_eq!(
        server.metric("scihcgrl_originals_unavailable").await,
        Some(0.0)
    );
}

#[tokio::test]
async fn unwritable_originals_are_reported_and_refused_until_they_are_writable() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let originals = folder.path().join("originals");
    let away = folder.path().join("away");
    let place = originals.to_str().unwrap().to_owned();
    let server = TestServer::start_in(folder, &["--originals", &place]);
    server.store(&["cat"], 1).await;
    // As if their disk was not mounted.
    fs::rename(&originals, &away).unwrap();
    fs::write(&originals, "").unwrap();
    for _ in 0..3 {
        let (status, code) = put_to_away(&server).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{code}");
        assert_eq!(code, "originals_unavailable");
    }
    let (status, text) = ready(&server).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.starts_with("degraded: originals cannot be written"),
        "{text}"
    );
    assert_eq!(
        server.metric("scihcgrl_originals_unavailable").await,
        Some(1.0)
    );
    assert_eq!(server.log().matches("images are refused").count(), 1);
    fs::remove_file(&originals).unwrap();
    fs::rename(&away, &originals).unwrap();
    // The service checks by itself, without a write.
    eventually("the service is ready", async || {
        (ready(&server).await.1 == "ready\n").then_some(())
    })
    .await;
    let (status, _) = put(&server, "new").await;
    assert_eq!(status, StatusCode::CREATED);
}

async fn put_to_away(server: &TestServer) -> (StatusCode, String) {
    let picture = fs::read(&samples("cat")[0]).unwrap();
    let put = server.client.put(server.at("/images/new")).body(picture);
    let answer = put.send().await.unwrap();
    let status = answer.status();
    let problem: serde_json::Value = answer.json().await.unwrap();
    (
        status,
        problem["code"].as_str().unwrap_or_default().to_owned(),
    )
}
