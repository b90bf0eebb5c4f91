//! Pictures that other processes decode: stored and served like others, even if their decoders are
//! killed.

use std::{
    fs, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::server::TestServer;

const HEIC: &[u8] = include_bytes!("../../fixtures/kinds/turned.heic");
const FAX: &[u8] = include_bytes!("../../fixtures/kinds/fax.tif");

/// Returns the decoding processes of a service.
fn decoders(service: u32) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|id| {
            let read = |what: &str| fs::read_to_string(format!("/proc/{id}/{what}"));
            let parent = format!("PPid:\t{service}\n");
            read("status").is_ok_and(|status| status.contains(&parent))
                && read("cmdline").is_ok_and(|line| line.contains("decode-pictures"))
        })
        .collect()
}

#[tokio::test]
async fn a_photo_of_a_phone_is_stored_and_served() {
    let server = TestServer::start().await;
    let put = server.client.put(server.at("/images/phone")).body(HEIC);
    let put = put.send().await.unwrap();
    assert_eq!(put.status(), 201);
    let record: Value = put.json().await.unwrap();
    assert_eq!(record["media_type"], "image/heic");
    let content = server.client.get(server.at("/images/phone/content"));
    let content = content.send().await.unwrap();
    assert_eq!(content.headers()["content-type"], "image/heic");
    assert_eq!(content.bytes().await.unwrap(), HEIC);
    // One process is kept. It does not have the service's environment.
    let kept = decoders(server.process().id());
    assert_eq!(kept.len(), 1);
    let environment = fs::read(format!("/proc/{}/environ", kept[0])).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(
        !environment.contains("HOME=") && !environment.contains("SCIHCGRL"),
        "{environment}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_decoder_fails_only_its_picture() {
    let server = TestServer::start().await;
    let service = server.process().id();
    let done = Arc::new(AtomicBool::new(false));
    let killing = thread::spawn({
        let done = done.clone();
        move || {
            while !done.load(Ordering::Relaxed) {
                for id in decoders(service) {
                    let _ = process::Command::new("kill").args(["-KILL", &id]).status();
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let mut refused = 0;
    for number in 0..60 {
        let picture = if number % 2 == 0 { HEIC } else { FAX };
        let search = server.client.post(server.at("/search")).body(picture);
        let answer = search.send().await.unwrap();
        if answer.status() == 200 {
            continue;
        }
        assert_eq!(answer.status(), 422);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "malformed_image");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("its decoder crashed"),
            "{problem}"
        );
        refused += 1;
    }
    done.store(true, Ordering::Relaxed);
    killing.join().unwrap();
    assert!(refused > 0);
    assert_eq!(
        server.metric("scihcgrl_decoder_failures_total").await,
        Some(f64::from(refused))
    );
    assert_eq!(server.metric("scihcgrl_panics_total").await, Some(0.0));
    let search = server.client.post(server.at("/search")).body(HEIC);
    assert_eq!(search.send().await.unwrap().status(), 200);
}
