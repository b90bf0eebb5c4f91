//! Callers that try to exhaust the service's memory: slow large bodies, unread responses, costly
//! pictures, and forms without an end.

use std::collections::BTreeSet;

use image::{DynamicImage, RgbaImage, codecs::png::PngEncoder};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    UPRIGHT, search,
    server::{self, TestServer},
};

const BODY: usize = 2 << 20;
/// The size of four such bodies.
const MEMORY: usize = 4 * BODY;
const FORM: &str = "POST /images/batch HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\ntransfer-encoding: chunked\r\n\r\n";

fn start() -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let (body, memory) = (BODY.to_string(), MEMORY.to_string());
    TestServer::start_in(folder, &["--max-body-bytes", &body, "--memory", &memory])
}

async fn connect(server: &TestServer) -> TcpStream {
    let address = server.url.trim_start_matches("http://");
    TcpStream::connect(address).await.unwrap()
}

/// Waits until the memory that requests hold satisfies a condition.
async fn wait_for_held(server: &TestServer, is: impl Fn(f64) -> bool) {
    server::eventually("requests hold the expected memory", async || {
        let held = server.metric("scihcgrl_request_memory_bytes").await;
        held.filter(|held| is(*held)).map(drop)
    })
    .await;
}

#[tokio::test]
async fn request_bodies_stay_within_their_memory_limit_and_release_it() {
    let server = start();
    let whole = server.metric("scihcgrl_request_memory_limit_bytes").await;
    // Responses may hold half as much on top.
    assert_eq!(whole, Some(MEMORY as f64 * 1.5));
    // The body arrives without its last byte.
    let head = format!("POST /images HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY}\r\n\r\n");
    let start = [head.as_bytes(), &vec![b'x'; BODY - 1]].concat();
    let mut slow = connect(&server).await;
    slow.write_all(&start).await.unwrap();
    wait_for_held(&server, |held| held > 1.9 * BODY as f64).await;
    let mut more = connect(&server).await;
    more.write_all(&start).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = more.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    assert!(answer.contains("memory_full"), "{answer}");
    // Large bodies leave room for small ones.
    search(&server.client, &server.url).await;
    let large = server.client.post(server.at("/search"));
    let large = large.body(vec![b'x'; BODY]).send().await.unwrap();
    assert_eq!(large.status(), StatusCode::TOO_MANY_REQUESTS);
    drop((slow, more));
    wait_for_held(&server, |held| held == 0.0).await;
    let large = server.client.post(server.at("/search"));
    let large = large.body(vec![b'x'; BODY]).send().await.unwrap();
    assert_eq!(large.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_caller_that_reads_no_answers_gets_no_more() {
    let server = start();
    // Bytes after the picture in its file are ignored, but stored.
    let original = [UPRIGHT, &vec![0; BODY - UPRIGHT.len()]].concat();
    let put = server.client.put(server.at("/images/a")).body(original);
    assert_eq!(put.send().await.unwrap().status(), 201);
    let request = "GET /images/a/content HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut silent = Vec::new();
    server::eventually("answers hold as much as they may", async || {
        // Each sends more requests than there is room for responses in a connection's buffers.
        let mut stream = connect(&server).await;
        stream
            .write_all(request.repeat(9).as_bytes())
            .await
            .unwrap();
        silent.push(stream);
        let answer = server.client.get(server.at("/images/a/content"));
        let status = answer.send().await.unwrap().status();
        (status == StatusCode::TOO_MANY_REQUESTS).then_some(())
    })
    .await;
    wait_for_held(&server, |held| held == BODY as f64).await;
    search(&server.client, &server.url).await;
    drop(silent);
    wait_for_held(&server, |held| held == 0.0).await;
    let answer = server.client.get(server.at("/images/a/content"));
    assert_eq!(answer.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn costly_pictures_leave_capacity_for_other_requests() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &[]);
    let mut large = Vec::new();
    let pixels = RgbaImage::new(3500, 3500);
    let deep = DynamicImage::from(pixels).into_rgba16();
    let encoder = PngEncoder::new(&mut large);
    deep.write_with_encoder(encoder).unwrap();
    let callers = 12 * std::thread::available_parallelism().unwrap().get();
    let request = || server.client.post(server.at("/encode")).body(large.clone());
    let running: Vec<_> = (0..callers)
        .map(|_| tokio::spawn(request().send()))
        .collect();
    server::eventually("a request is refused", async || {
        search(&server.client, &server.url).await;
        let refused = "scihcgrl_images_dropped_total{reason=\"full\"}";
        server
            .metric(refused)
            .await
            .filter(|refused| *refused > 0.0)
    })
    .await;
    for _ in 0..5 {
        search(&server.client, &server.url).await;
    }
    let mut statuses = BTreeSet::new();
    for answer in running {
        statuses.insert(answer.await.unwrap().unwrap().status().as_u16());
    }
    assert_eq!(Vec::from_iter(statuses), [200, 429]);
}

/// Sends pieces of a form until the service responds. Returns the problem's code.
async fn endless(server: &TestServer, start: &str, piece: &str) -> Value {
    let mut stream = connect(server).await;
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let start = format!("{FORM}{}", chunk(start));
    stream.write_all(start.as_bytes()).await.unwrap();
    let (piece, (mut reader, mut writer)) = (chunk(piece), stream.into_split());
    let sending =
        tokio::spawn(async move { while writer.write_all(piece.as_bytes()).await.is_ok() {} });
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = reader.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    drop(reader);
    sending.abort();
    let answer = String::from_utf8(answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let problem: Value = serde_json::from_str(body).unwrap();
    problem["code"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_without_an_end_is_refused() {
    let server = start();
    let long = "x".repeat(16 << 10);
    // A head that never ends, and text before the first part.
    for start in ["--b\r\ncontent-disposition: form-data; name=\"", "nothing"] {
        let code = endless(&server, start, &long).await;
        assert_eq!(code, "invalid_form");
    }
    // Labels for an image that never comes.
    let label = "--b\r\ncontent-disposition: form-data; name=\"labels\"\r\n\r\nx\r\n";
    assert_eq!(endless(&server, label, label).await, "invalid_label");
    let text = "--b\r\ncontent-disposition: form-data; name=\"payload\"\r\n\r\n";
    assert_eq!(endless(&server, text, &long).await, "invalid_form");
    let named = format!(
        "--b\r\ncontent-disposition: form-data; name=\"image\"; filename=\"{}\"\r\n\r\n",
        "x".repeat(1025)
    );
    assert_eq!(endless(&server, &named, &long).await, "invalid_form");
    // Its memory is released with the connection, and uploads work.
    let upload = server.client.put(server.at("/images/a")).body(UPRIGHT);
    assert_eq!(upload.send().await.unwrap().status(), 201);
    wait_for_held(&server, |held| held == 0.0).await;
}
