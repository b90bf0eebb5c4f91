//! More work than the service can do: what is refused, what is let go, and that what was accepted is answered. Also what operators
//! see of it. Through the program itself; no timing is asserted, only what must be so whatever the machine.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

mod server;

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    sync::{Arc, Mutex},
};

use reqwest::multipart::{Form, Part};
use serde_json::Value;
use server::TestServer;
use tokio::io::AsyncWriteExt;

const UPRIGHT: &[u8] = include_bytes!("fixtures/upright.jpg");
const GREY: &[u8] = include_bytes!("fixtures/grey.jpg");

fn start(arguments: &[&str]) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    TestServer::start_in(folder, arguments)
}

/// The value of a metric with just these labels.
async fn metric(server: &TestServer, name: &str) -> Option<f64> {
    let text = server
        .client
        .get(server.at("/metrics"))
        .send()
        .await
        .unwrap();
    let text = text.error_for_status().unwrap().text().await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// Statuses of so many requests at once, each a picture to encode.
async fn at_once(server: &TestServer, count: usize) -> BTreeMap<u16, usize> {
    let sent: Vec<_> = (0..count)
        .map(|_| {
            let request = server.client.post(server.at("/encode")).body(UPRIGHT);
            tokio::spawn(async move {
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let again = answer.headers().contains_key("retry-after");
                assert_eq!(again, status != 200, "{status}");
                status
            })
        })
        .collect();
    let mut statuses = BTreeMap::new();
    for answer in sent {
        *statuses.entry(answer.await.unwrap()).or_default() += 1;
    }
    statuses
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_is_refused_at_once() {
    let server = start(&["--queue", "2", "--max-batch", "1"]);
    let statuses = at_once(&server, 64).await;
    assert_eq!(
        statuses.keys().copied().collect::<Vec<_>>(),
        [200, 429],
        "{statuses:?}"
    );
    let refused = metric(&server, "scihcgrl_images_dropped_total{reason=\"full\"}").await;
    assert_eq!(refused.unwrap() as usize, statuses[&429]);
    assert_eq!(metric(&server, "scihcgrl_queue_depth").await, Some(0.0));
    // And it is over as soon as it is over.
    assert_eq!(at_once(&server, 1).await, BTreeMap::from([(200, 1)]));
}

#[tokio::test]
async fn what_waited_too_long_is_not_encoded() {
    let server = start(&["--deadline-ms", "0"]);
    assert_eq!(at_once(&server, 3).await, BTreeMap::from([(503, 3)]));
    let late = metric(&server, "scihcgrl_images_dropped_total{reason=\"late\"}").await;
    assert_eq!(late, Some(3.0));
    let passes = metric(&server, "scihcgrl_batch_images_count").await;
    assert_eq!(passes, Some(0.0), "no forward pass");
}

#[tokio::test]
async fn metrics_are_there_from_the_start_and_count() {
    let server = start(&["--log-format", "json"]);
    for name in [
        "scihcgrl_panics_total",
        "scihcgrl_images_dropped_total{reason=\"full\"}",
        "scihcgrl_images_dropped_total{reason=\"failed\"}",
        "scihcgrl_queue_depth",
        "scihcgrl_images",
        "scihcgrl_store_damaged",
        "scihcgrl_decode_duration_seconds_count",
        "scihcgrl_index_duration_seconds_count",
    ] {
        assert_eq!(metric(&server, name).await, Some(0.0), "{name}");
    }
    assert_eq!(metric(&server, "scihcgrl_ready").await, Some(1.0));
    assert!(
        metric(&server, "process_resident_memory_bytes")
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
        assert_eq!(metric(&server, &name).await, Some(value), "{name}");
    }
}

#[tokio::test]
async fn many_images_in_one_form_are_answered_one_by_one() {
    let server = start(&["--queue", "2"]);
    let file = |name: &str, bytes: &'static [u8]| Part::bytes(bytes).file_name(name.to_owned());
    let mut form = Form::new()
        .text("id", "first")
        .text("labels", "red")
        .text("payload", "{\"n\":1}")
        .part("image", file("a.jpg", UPRIGHT))
        .part("image", file("b.jpg", b"not an image"))
        .text("id", "..")
        .part("image", file("c.jpg", GREY));
    for number in 0..40 {
        form = form.part("image", file(&format!("{number}.jpg"), GREY));
    }
    let batch = |form: Form| {
        let request = server.client.post(server.at("/images/batch?label=all"));
        request.multipart(form)
    };
    let answer = batch(form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["stored"], &answer["failed"]),
        (&41.into(), &2.into())
    );
    let items = &answer["items"];
    assert_eq!(items[0]["status"], 201);
    assert_eq!(items[0]["image"]["id"], "first");
    assert_eq!(
        items[0]["image"]["labels"],
        serde_json::json!(["all", "red"])
    );
    assert_eq!(items[0]["image"]["payload"]["n"], 1);
    assert_eq!(items[1]["problem"]["code"], "unsupported_image");
    assert_eq!(items[1]["file"], "b.jpg");
    assert_eq!(items[2]["problem"]["code"], "invalid_id");
    // What is said of one image is not said of the next.
    assert_eq!(items[3]["image"]["labels"], serde_json::json!(["all"]));
    assert_eq!(items.as_array().unwrap().len(), 43);

    let wrong = Form::new()
        .part("image", file("d.jpg", GREY))
        .text("colour", "red");
    let answer = batch(wrong).send().await.unwrap();
    assert_eq!(answer.status(), 422);
    let problem: Value = answer.json().await.unwrap();
    assert!(
        problem["detail"].as_str().unwrap().contains("`colour`"),
        "{problem}"
    );
    let images = metric(&server, "scihcgrl_images").await;
    assert_eq!(images, Some(42.0), "what came before the mistake is stored");
    let empty = batch(Form::new().text("labels", "x")).send().await.unwrap();
    assert_eq!(
        empty.json::<Value>().await.unwrap()["code"],
        "missing_image"
    );
}

#[tokio::test]
async fn an_original_is_sent_once_and_answers_are_compressed() {
    let server = start(&[]);
    let put = server.client.put(server.at("/images/one")).body(UPRIGHT);
    put.send().await.unwrap().error_for_status().unwrap();
    let content = || server.client.get(server.at("/images/one/content"));
    let first = content().send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    let again = content()
        .header("if-none-match", &tag)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (again.status().as_u16(), &again.headers()["etag"]),
        (304, &tag)
    );
    let put = server.client.put(server.at("/images/one")).body(GREY);
    put.send().await.unwrap().error_for_status().unwrap();
    let changed = content()
        .header("if-none-match", &tag)
        .send()
        .await
        .unwrap();
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.bytes().await.unwrap(), GREY);
    let packed = |path| {
        server
            .client
            .get(server.at(path))
            .header("accept-encoding", "gzip")
    };
    for (path, is) in [("/openapi.yaml", true), ("/images/one/content", false)] {
        let answer = packed(path).send().await.unwrap();
        let encoding = answer.headers().get("content-encoding");
        assert_eq!(encoding.is_some_and(|found| found == "gzip"), is, "{path}");
    }
}

#[tokio::test]
async fn http_2_without_tls_is_spoken() {
    let server = start(&[]);
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let answer = client.get(server.at("/info")).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.status(), 200);
}

/// A collector of spans, as little of one as there can be: it keeps what is posted.
fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request, mut part) = (stream.unwrap(), Vec::new(), [0; 4096]);
            // A request ends where as many bytes follow its head as it has said.
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let (head, _) = text.split_once("\r\n\r\n")?;
                let length = head.split("content-length: ").nth(1)?.lines().next()?;
                let length: usize = length.trim().parse().ok()?;
                (request.len() >= head.len() + 4 + length).then_some(())
            };
            while whole(&request).is_none() {
                let read = stream.read(&mut part).unwrap();
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
async fn a_request_is_a_part_of_its_callers_trace() {
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

/// Every metric that the dashboard shows is one that a service has.
#[tokio::test]
async fn the_dashboard_shows_what_there_is() {
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
        serde_json::from_str(include_str!("../docker/grafana/dashboard.json")).unwrap();
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

#[tokio::test]
async fn a_caller_who_never_ends_does_not_keep_it_from_stopping() {
    let mut server = start(&["--drain-seconds", "1"]);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = "POST /encode HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf";
    slow.write_all(head.as_bytes()).await.unwrap();
    let info = server.client.get(server.at("/info")).send().await.unwrap();
    assert_eq!(info.status(), 200);
    assert!(server.terminate());
}
