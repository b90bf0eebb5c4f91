//! Jobs with an archive of class folders: trained on next to replayed images of the gallery,
//! refused with a reason, removed at the end of the job.

use std::{fs, io::Write, process::Command};

use flate2::{Compression, write::GzEncoder};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{
    path, quick,
    server::{self, TestServer, samples},
};

/// A tar archive of class folders with this many samples each, and one more file.
fn archive(classes: &[&str], each: usize, more: (&str, &[u8])) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for class in classes {
        for (number, file) in samples(class).into_iter().take(each).enumerate() {
            let name = format!("photos/{class}/{number}.jpg");
            archive.append_path_with_name(file, name).unwrap();
        }
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(more.1.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, more.0, more.1).unwrap();
    archive.into_inner().unwrap()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

async fn send(server: &TestServer, job: &Value, archive: Vec<u8>) -> (u16, Value) {
    let form = Form::new().text("job", job.to_string());
    let form = form.part("archive", Part::bytes(archive).file_name("photos.tar.gz"));
    form_sent(server, form).await
}

async fn form_sent(server: &TestServer, form: Form) -> (u16, Value) {
    let request = server.client.post(server.at("/admin/jobs"));
    let request = request.header("idempotency-key", "of-an-archive");
    let answer = request.multipart(form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Counts the files and folders of jobs.
fn job_entries(server: &TestServer) -> usize {
    let jobs = fs::read_dir(server.folder.path().join("data/jobs"));
    jobs.unwrap().count()
}

#[tokio::test]
async fn a_job_learns_from_an_archive_and_replays_the_gallery() {
    let mut server = TestServer::start().await;
    // The random model has the classes a, b and c.
    for (number, file) in samples("cat").into_iter().take(10).enumerate() {
        let url = server.at(&format!(
            "/images/{number}?label={}",
            ["a", "zebra"][number % 2]
        ));
        let put = server.client.put(url).body(fs::read(file).unwrap());
        put.send().await.unwrap().error_for_status().unwrap();
    }
    let photos = archive(
        &["ship", "truck", "frog"],
        10,
        ("photos/ship/broken.jpg", b"no picture"),
    );
    let body = quick(json!({ "labels": ["ship", "truck"] }));
    // A queued job keeps its archive over a kill.
    let (_, first) = {
        let body = quick(json!({ "labels": ["ship"], "epochs": 300 }));
        send_without_key(&server, &body, photos.clone()).await
    };
    let (status, job) = send(&server, &body, packed(&photos)).await;
    assert_eq!(status, 202, "{job}");
    assert_eq!(job["archive"]["bytes"], packed(&photos).len());
    server = TestServer::start_in(server.kill(), &[]);
    let (status, same) = send(&server, &body, packed(&photos)).await;
    assert_eq!((status, &same["id"]), (200, &job["id"]));
    let (status, other) = send(&server, &body, photos.clone()).await;
    assert_eq!(
        (status, &other["code"]),
        (409, &json!("idempotency_key_reused"))
    );
    assert_eq!(job_entries(&server), 2);
    server
        .ask(Method::POST, &format!("{}/cancel", path(&first)))
        .await;
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let result = &job["result"];
    // Twenty images of the archive and all of known classes in the gallery, without the unreadable
    // one.
    let metrics = &result["metrics"];
    let images =
        metrics["queries"].as_u64().unwrap() + metrics["training_images"].as_u64().unwrap();
    assert_eq!((images, &result["skipped_count"]), (25, &json!(1)), "{job}");
    assert_eq!(result["skipped"][0]["file"], "photos/ship/broken.jpg");
    let path = format!("/admin/models/{}", result["model"].as_str().unwrap());
    let (_, model) = server.ask(Method::GET, &path).await;
    assert_eq!(
        model["card"]["classes"],
        json!(["a", "ship", "truck", "b", "c"])
    );
    server::eventually("the job's files are removed", async || {
        (job_entries(&server) == 0).then_some(())
    })
    .await;
}

async fn send_without_key(server: &TestServer, job: &Value, archive: Vec<u8>) -> (u16, Value) {
    let form = Form::new().part("archive", Part::bytes(archive));
    let form = form.text("job", job.to_string());
    let request = server.client.post(server.at("/admin/jobs")).multipart(form);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Runs `scihcgrl jobs`, which must succeed; returns its standard output.
fn jobs_command(server: &TestServer, arguments: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_scihcgrl"));
    program
        .arg("jobs")
        .args(arguments)
        .env("SCIHCGRL_URL", &server.url);
    let output = program.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_commands_send_an_archive_follow_its_job_and_prune_it() {
    let server = TestServer::start().await;
    let file = server.folder.path().join("photos.tgz");
    let photos = archive(&["ship", "truck"], 10, ("README", b""));
    fs::write(&file, packed(&photos)).unwrap();
    let learn = ["fine-tune", "--archive", file.to_str().unwrap()];
    let options = [
        "warm_up_epochs=1",
        "epochs=1",
        "batch_size=16",
        "labels=ship,truck",
    ];
    let result: Value =
        serde_json::from_str(&jobs_command(&server, &[&learn[..], &options].concat())).unwrap();
    assert_eq!(result["metrics"]["training_images"], 18, "{result}");
    assert!(jobs_command(&server, &["list"]).contains("succeeded"));
    assert_eq!(
        jobs_command(&server, &["prune", "--days", "1"]),
        "0 jobs deleted\n"
    );
    assert_eq!(
        jobs_command(&server, &["prune", "--days", "0"]),
        "1 jobs deleted\n"
    );
    assert_eq!(jobs_command(&server, &["list"]), "");
}

#[tokio::test]
async fn an_unusable_archive_is_refused_with_a_reason() {
    let server = TestServer::start().await;
    let photos = archive(&["ship", "truck"], 2, ("README", b""));
    let flat = archive(&[], 0, ("photo.jpg", b""));
    let mut cut = packed(&photos);
    cut.truncate(cut.len() / 2);
    for (job, archive, code, words) in [
        (
            json!({}),
            b"no archive".to_vec(),
            "invalid_archive",
            "cannot be read as a tar archive",
        ),
        (json!({}), cut, "invalid_archive", "it cannot be unpacked"),
        (
            json!({}),
            flat,
            "invalid_archive",
            "it has no folder with images; a folder is a class",
        ),
        (
            json!({}),
            Vec::new(),
            "empty_body",
            "the file that was sent is empty",
        ),
        (
            json!({ "labels": ["zebra"] }),
            photos.clone(),
            "invalid_archive",
            "it has no folder 'zebra'; it has 'ship', 'truck'",
        ),
        (
            json!({ "images": ["ship-1"] }),
            photos.clone(),
            "invalid_json",
            "images is 1; it must be left out if there is an archive to learn from",
        ),
        (
            json!({ "kind": "reencode", "model": "0123456789ab" }),
            photos.clone(),
            "invalid_form",
            "only a job of kind `fine_tune` takes an archive",
        ),
        (
            json!({ "archive": { "sha256": "0", "bytes": 1 } }),
            photos.clone(),
            "invalid_json",
            "send `archive` as a file next to `job`",
        ),
    ] {
        let job = match job["kind"].is_null() {
            true => quick(job),
            false => job,
        };
        let (status, problem) = send(&server, &job, archive).await;
        let detail = problem["detail"].as_str().unwrap();
        println!("{status} {}: {detail}", problem["code"]);
        assert!(
            [400, 422].contains(&status) && problem["code"] == code,
            "{problem}"
        );
        assert!(detail.contains(words), "{problem}");
    }
    let job = quick(json!({})).to_string();
    for (form, words) in [
        (
            Form::new().text("job", job.clone()),
            "the form has no field `archive`, a .tar",
        ),
        (
            Form::new().part("archive", Part::bytes(photos.clone())),
            "the form has no field `job`",
        ),
        (
            Form::new()
                .text("job", job.clone())
                .text("job", job.clone()),
            "`job` comes twice",
        ),
        (Form::new().text("jobs", job), "expected `job`, `archive`"),
    ] {
        let (status, problem) = form_sent(&server, form).await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(status == 422 && detail.contains(words), "{problem}");
    }
    assert_eq!(job_entries(&server), 0);
}
