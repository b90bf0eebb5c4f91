//! What operators see of a service: metrics, the dashboard, traces and the log.

use std::{
    fs,
    io::{Read, Write},
    sync::{Arc, Mutex},
};

use crate::server::{self, TestServer};
use serde_json::{Value, json};

const UPRIGHT: &[u8] = include_bytes!("../../fixtures/upright.jpg");

fn start(arguments: &[&str]) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    TestServer::start_in(folder, arguments)
}

#[tokio::test]
async fn metrics_exist_from_the_start_and_count() {
    let server = start(&["--log-format", "json"]);
    for name in [
        "scihcgrl_panics_total",
        "scihcgrl_decoder_failures_total",
        "scihcgrl_images_dropped_total{reason=\"full\"}",
        "scihcgrl_images_dropped_total{reason=\"failed\"}",
        "scihcgrl_queue_depth",
        "scihcgrl_images",
        "scihcgrl_store_damaged",
        "scihcgrl_decode_duration_seconds_count",
        "scihcgrl_index_duration_seconds_count",
    ] {
        assert_eq!(server.metric(name).await, Some(0.0), "{name}");
    }
    assert_eq!(server.metric("scihcgrl_ready").await, Some(1.0));
    assert!(
        server
            .metric("process_resident_memory_bytes")
            .await
            .unwrap()
            > 1e6
    );
    let put = server.client.put(server.at("/images/one")).body(UPRIGHT);
    assert_eq!(put.send().await.unwrap().status(), 201);
    let none = server.client.get(server.at("/nowhere/at/all")).send().await;
    assert_eq!(none.unwrap().status(), 404);
    let counted = |method, route, status| {
        format!(
            "scihcgrl_requests_total{{method=\"{method}\",route=\"{route}\",status=\"{status}\"}}"
        )
    };
    for (name, value) in [
        (counted("PUT", "/images/{id}", 201), 1.0),
        (counted("GET", "none", 404), 1.0),
        ("scihcgrl_images".to_owned(), 1.0),
        ("scihcgrl_distinct_codes{bits=\"48\"}".to_owned(), 1.0),
        ("scihcgrl_decode_duration_seconds_count".to_owned(), 1.0),
        ("scihcgrl_batch_images_sum".to_owned(), 1.0),
    ] {
        assert_eq!(server.metric(&name).await, Some(value), "{name}");
    }
}

/// A minimal collector of spans, which keeps everything that is posted.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request, mut part) = (stream.unwrap(), Vec::new(), [0; 4096]);
            // A request ends when its body has the announced length.
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let (head, _) = text.split_once("\r\n\r\n")?;
                let length = head.split("content-length: ").nth(1)?.lines().next()?;
                let length: usize = length.trim().parse().ok()?;
                (request.len() >= head.len() + 4 + length).then_some(())
            };
            while whole(&request).is_none() {
                let read = stream.read(&mut part).unwrap();
                assert!(read > 0, "a request was cut off");
                request.extend_from_slice(&part[..read]);
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            keep.lock().unwrap().extend(request);
        }
    });
    (address, kept)
}

#[tokio::test]
async fn a_request_belongs_to_its_callers_trace() {
    let (address, kept) = collector();
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let mut server = TestServer::start_with(folder, |program| {
        program.env("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    });
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = server.client.post(server.at("/encode")).body(UPRIGHT);
    let request = request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert!(server.terminate());
    let kept = kept.lock().unwrap();
    let id: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&trace[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    for wanted in [&b"POST /v1/traces"[..], b"/encode", b"scihcgrl", &id] {
        let found = kept.windows(wanted.len()).any(|window| window == wanted);
        assert!(found, "{}", String::from_utf8_lossy(wanted));
    }
}

/// Every metric on the dashboard exists.
#[tokio::test]
async fn the_dashboard_shows_existing_metrics() {
    let server = start(&[]);
    let put = server.client.put(server.at("/images/one")).body(UPRIGHT);
    put.send().await.unwrap().error_for_status().unwrap();
    let text = server
        .client
        .get(server.at("/metrics"))
        .send()
        .await
        .unwrap();
    let text = text.text().await.unwrap();
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../docker/grafana/dashboard.json")).unwrap();
    let mut shown = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let words = target["expr"].as_str().unwrap();
            let words = words.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for name in words.filter(|w| w.starts_with("scihcgrl_") || w.starts_with("process_")) {
                assert!(text.contains(name), "{name} of {}", panel["title"]);
                shown += 1;
            }
        }
    }
    assert!(shown > 20, "{shown}");
}

/// A caller who may create a job can write text into the log, but no lines.
#[tokio::test]
async fn a_label_cannot_forge_a_line_of_the_log() {
    let server = start(&[]);
    let label = "cat\nINFO stored by admin\u{9b}2J";
    let body = json!({ "kind": "fine_tune", "labels": [label] });
    let request = server.client.post(server.at("/admin/jobs")).json(&body);
    let job: Value = request.send().await.unwrap().json().await.unwrap();
    let job = server.wait_for_end(&job["id"]).await;
    assert!(job["error"].as_str().unwrap().contains(label), "{job}");
    let log = fs::read_to_string(server.folder.path().join("server.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("stored by admin"));
    let lines: Vec<&str> = lines.collect();
    assert!(!lines.is_empty());
    for line in lines {
        let forged = line.starts_with("INFO") || line.contains('\u{9b}');
        assert!(!forged && line.contains("cat\\nINFO"), "{line}");
    }
}
