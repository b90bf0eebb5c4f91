//! Storing, searching, reading back and deleting images; starting and stopping a service.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

use crate::server::{self, TestServer};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

const UPRIGHT: &[u8] = include_bytes!("../../fixtures/upright.jpg");
const GREY: &[u8] = include_bytes!("../../fixtures/grey.jpg");

fn form(image: &'static [u8], label: &'static str) -> Form {
    Form::new()
        .part("image", Part::bytes(image).file_name("image.jpg"))
        .text("labels", label)
}

async fn put(server: &TestServer, id: &str, image: &'static [u8], label: &'static str) -> Value {
    let request = server
        .client
        .put(server.at(&format!("/images/{id}")))
        .multipart(form(image, label));
    let answer = request.send().await.unwrap().error_for_status().unwrap();
    answer.json().await.unwrap()
}

async fn search(server: &TestServer, query: &str, image: &'static [u8]) -> Value {
    let request = server
        .client
        .post(server.at(&format!("/search?{query}")))
        .body(image);
    request
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap()
}

#[tokio::test]
async fn stored_images_are_found_read_back_and_deleted() {
    let server = TestServer::start().await;
    let record = put(&server, "first", UPRIGHT, "red").await;
    put(&server, "second", UPRIGHT, "blue").await;
    for bits in [24, 32, 48] {
        let found = search(&server, &format!("bits={bits}&radius=0"), UPRIGHT).await;
        assert_eq!(found["total"], 2);
        assert_eq!(found["query"]["code"], record["codes"][bits.to_string()]);
        assert_eq!(
            found["matches"][0]["id"], "first",
            "the older of two equal codes comes first"
        );
        assert_eq!(found["matches"][0]["distance"], 0);
    }
    assert_eq!(search(&server, "label=blue", UPRIGHT).await["total"], 1);
    assert_eq!(
        search(&server, "limit=1&offset=1", UPRIGHT).await["matches"][0]["id"],
        "second"
    );
    let content = server
        .client
        .get(server.at("/images/first/content"))
        .send()
        .await
        .unwrap();
    assert_eq!(content.headers()["content-type"], "image/jpeg");
    assert_eq!(content.bytes().await.unwrap(), UPRIGHT);
    let deleted = server
        .client
        .delete(server.at("/images/first"))
        .send()
        .await
        .unwrap();
    assert!(deleted.status().is_success());
    assert_eq!(
        server
            .client
            .get(server.at("/images/first"))
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
    assert_eq!(search(&server, "", UPRIGHT).await["total"], 1);
}

/// Breaks it into lines of 76 characters, as MIME does.
fn on_lines(base64: &str) -> String {
    let lines = base64.as_bytes().chunks(76);
    let lines = lines.map(|line| format!("{}\r\n", std::str::from_utf8(line).unwrap()));
    lines.collect()
}

#[tokio::test]
async fn an_image_has_the_same_code_in_every_body_format() {
    use base64::{
        Engine,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    let server = TestServer::start().await;
    let raw = search(&server, "", UPRIGHT).await["query"]["code"].clone();
    put(&server, "first", UPRIGHT, "red").await;
    let bodies = [
        json!({ "image": STANDARD.encode(UPRIGHT) }),
        // As other encoders write it: for URLs, on lines, as a data URI with an upper-case scheme.
        json!({ "image": URL_SAFE_NO_PAD.encode(UPRIGHT) }),
        json!({ "image": on_lines(&STANDARD.encode(UPRIGHT)) }),
        json!({ "image": format!("DATA:image/jpeg;base64,{}", STANDARD.encode(UPRIGHT)) }),
        json!({ "id": "first" }),
        json!({ "code": raw }),
    ];
    for body in bodies {
        let answer = server
            .client
            .post(server.at("/search"))
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(
            answer.json::<Value>().await.unwrap()["query"]["code"],
            raw,
            "{body}"
        );
    }
    let form = Form::new().part("image", Part::bytes(UPRIGHT));
    let answer = server
        .client
        .post(server.at("/encode"))
        .multipart(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["codes"]["48"], raw);
}

#[tokio::test]
async fn acknowledged_images_survive_a_kill() {
    let server = TestServer::start().await;
    for i in 0..8 {
        put(
            &server,
            &format!("image-{i}"),
            if i % 2 == 0 { UPRIGHT } else { GREY },
            "any",
        )
        .await;
    }
    let server = TestServer::start_in(server.kill(), &[]);
    assert_eq!(search(&server, "radius=48", UPRIGHT).await["total"], 8);
    let mut server = server;
    assert!(server.terminate(), "SIGTERM ends it with success");
}

#[tokio::test]
async fn a_data_folder_opens_without_the_file_of_its_first_model() {
    let server = TestServer::start().await;
    put(&server, "first", UPRIGHT, "red").await;
    let folder = server.kill();
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let server = TestServer::start_in(folder, &[]);
    let found = search(&server, "", UPRIGHT).await;
    assert_eq!(found["matches"][0]["id"], "first", "{found}");
    // A new folder needs the file.
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    let output = server::program(folder.path(), &model).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && stderr.contains("model.safetensors"),
        "{stderr}"
    );
}

#[tokio::test]
async fn parallel_requests_get_the_same_answer() {
    let server = TestServer::start().await;
    let alone = search(&server, "", UPRIGHT).await["query"]["code"].clone();
    let requests = (0..64).map(|_| {
        let request = server.client.post(server.at("/search")).body(UPRIGHT);
        tokio::spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap()["query"]["code"], alone);
    }
}

#[tokio::test]
async fn requests_beyond_the_queue_are_refused_with_retry_after() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--queue", "1", "--max-batch", "1"]);
    let requests = (0..256).map(|_| {
        let request = server.client.post(server.at("/search")).body(UPRIGHT);
        tokio::spawn(async move { request.send().await.unwrap() })
    });
    let (mut answered, mut refused) = (0, 0);
    for request in requests.collect::<Vec<_>>() {
        let answer = request.await.unwrap();
        if answer.status() == 200 {
            answered += 1;
            continue;
        }
        refused += 1;
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "queue_full");
    }
    assert!(answered > 0 && refused > 0, "{answered} and {refused}");
    assert!(search(&server, "", UPRIGHT).await["total"].is_u64());
}

#[tokio::test]
async fn a_failed_start_names_its_reason() {
    let server = TestServer::start().await;
    let second = server.start_second();
    let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        !second.status.success() && stderr.contains("already in use"),
        "{stderr}"
    );

    let folder = tempfile::tempdir().unwrap();
    let missing = server::program(folder.path(), &folder.path().join("none.safetensors"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(
        !missing.status.success() && stderr.contains("none.safetensors"),
        "{stderr}"
    );
    let made = || folder.path().join("data").exists();
    assert!(!made(), "a failed start made a data folder");

    let model = server::model(folder.path());
    let mut bytes = std::fs::read(&model).unwrap();
    bytes.truncate(1000);
    std::fs::write(&model, bytes).unwrap();
    let corrupt = server::program(folder.path(), &model).output().unwrap();
    let stderr = String::from_utf8_lossy(&corrupt.stderr).into_owned();
    assert!(
        !corrupt.status.success() && stderr.contains("not a usable model file"),
        "{stderr}"
    );
    assert!(!made(), "a failed start made a data folder");
}

/// A login shell of another encoding leaves such variables. The settings of a bucket are read from
/// all variables.
#[tokio::test]
async fn a_service_starts_despite_variables_that_are_not_utf8() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let odd = OsStr::from_bytes(b"caf\xe9");
    let server = TestServer::start_with(folder, |program| {
        program.args(["--snapshots", "s3://bucket/snapshots"]);
        program.env(odd, "a").env("AWS_PROFILE", odd)
    });
    let (status, _) = server.ask(reqwest::Method::GET, "/info").await;
    assert_eq!(status, 200);
}
