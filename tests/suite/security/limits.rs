//! Requests at each limit, which are served, and just past it, which are refused. Requests are
//! written byte by byte, because client libraries have their own limits. For its own limits, the
//! HTTP library responds with a status and no body.

use std::fmt::Display;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    ANSWER_TIMEOUT, search,
    server::{self, TestServer},
};

const PNG: &[u8] = include_bytes!("../../fixtures/alpha.png");
/// The largest body that this server accepts.
const BODY: usize = 100_000;
/// hyper's limits: bytes of a head, header lines, bytes of a request's target.
const HEAD: usize = 8192 + 4096 * 100;
const LINES: usize = 100;
const TARGET: usize = 65_534;

/// A request and its expected response: the status, and the problem's code unless the library
/// responds.
struct Case {
    what: &'static str,
    request: Vec<u8>,
    status: u16,
    code: &'static str,
}

macro_rules! cases {
    ($($what:literal: $request:expr => $status:literal $code:literal;)+) => {
        vec![$(Case { what: $what, request: $request, status: $status, code: $code }),+]
    };
}

#[tokio::test]
async fn requests_at_a_limit_are_served_and_beyond_it_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--max-body-bytes", &BODY.to_string()]);
    for case in [heads(), bodies(), fields()].into_iter().flatten() {
        let (status, body) = exchange(&server, &case.request).await;
        let code = match serde_json::from_str::<Value>(&body) {
            Ok(body) if status >= 400 => body["code"].as_str().unwrap().to_owned(),
            Err(_) if status >= 400 => format!("library's own, {} bytes of body", body.len()),
            _ => String::new(),
        };
        println!("{status}  {code:<34}  {}", case.what);
        assert_eq!(status, case.status, "{}: {body}", case.what);
        if !case.code.is_empty() {
            assert_eq!(code, case.code, "{}", case.what);
        }
    }
    search(&server.client, &server.url).await;
}

#[tokio::test]
async fn a_slow_body_is_refused_after_the_body_timeout() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--body-seconds", "1"]);
    let json = "content-type: application/json\r\n";
    let form = "content-type: multipart/form-data; boundary=b\r\n";
    let starts = [
        ("POST /search", ""),
        ("POST /encode", json),
        ("POST /images", form),
        ("PUT /images/one", form),
        ("PATCH /images/one", json),
    ];
    let each = starts.map(|(start, head)| {
        format!("{start} HTTP/1.1\r\nhost: x\r\n{head}content-length: 99\r\n\r\n{{").into_bytes()
    });
    for (status, body) in join_all(each.iter().map(|request| exchange(&server, request))).await {
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &problem["code"]), (408, &"body_too_slow".into()));
    }
    search(&server.client, &server.url).await;
}

/// Sends a request as it is. Fails if there is no response.
async fn exchange(server: &TestServer, request: &[u8]) -> (u16, String) {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    let talk = async {
        stream.write_all(request).await.unwrap();
        stream.read_to_end(&mut answer).await.unwrap();
    };
    timeout(ANSWER_TIMEOUT, talk).await.expect("no answer");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn request(method: &str, target: impl Display, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}");
    [head.as_bytes(), b"\r\n", body].concat()
}

fn with_length(method: &str, target: impl Display, headers: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("content-length: {}\r\n{headers}", body.len());
    request(method, target, &headers, body)
}

fn heads() -> Vec<Case> {
    let lines = |count: usize| {
        let lines: String = (3..count).map(|i| format!("x-{i}: y\r\n")).collect();
        with_length("POST", "/encode", &lines, PNG)
    };
    let head = |bytes: usize, end: &str| {
        let start = "GET /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: ";
        let filling = "y".repeat(bytes - start.len() - end.len());
        [start, &filling, end].concat().into_bytes()
    };
    let target = |bytes: usize| {
        let start = "/search?limit=1";
        let (label, left) = ("&label=y", bytes - start.len());
        let labels = label.repeat(left / label.len());
        let target = format!("{start}{labels}{}", "y".repeat(left % label.len()));
        with_length("POST", target, "", PNG)
    };
    let id = |chars: usize| with_length("PUT", format!("/images/{}", "y".repeat(chars)), "", PNG);
    cases! {
        "100 header lines": lines(LINES) => 200 "";
        "101 header lines": lines(LINES + 1) => 431 "";
        "a head of 417,791 bytes": head(HEAD - 1, "\r\n\r\n") => 200 "";
        "417,792 bytes and no end of the head": head(HEAD, "") => 431 "";
        "a target of 65,534 bytes": target(TARGET) => 200 "";
        "a target of 65,535 bytes": target(TARGET + 1) => 414 "";
        "an id of 800 bytes": id(800) => 201 "";
        "an id of 801 bytes": id(801) => 422 "invalid_id";
    }
}

fn bodies() -> Vec<Case> {
    // Bytes after the picture in its file are ignored.
    let picture = |bytes: usize| [PNG, &vec![0; bytes - PNG.len()]].concat();
    let raw = |bytes| with_length("POST", "/encode", "", &picture(bytes));
    let chunked = |bytes: usize| {
        let mut body = Vec::new();
        for chunk in picture(bytes).chunks(7000) {
            body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            body.extend_from_slice(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        request("POST", "/encode", "transfer-encoding: chunked\r\n", &body)
    };
    let form = |bytes: usize| {
        let around = form("/encode", &[("image", b"")]).1.len();
        form("/encode", &[("image", &picture(bytes - around))]).0
    };
    let json = |bytes: usize| {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let body = format!("{{\"image\":\"{}\"}}", BASE64_STANDARD.encode(PNG));
        let body = [body.as_str(), &" ".repeat(bytes - body.len())].concat();
        let kind = "content-type: application/json\r\n";
        with_length("POST", "/encode", kind, body.as_bytes())
    };
    cases! {
        "a body of the most bytes": raw(BODY) => 200 "";
        "a body of one byte more": raw(BODY + 1) => 413 "body_too_large";
        "the most bytes in chunks": chunked(BODY) => 200 "";
        "one byte more in chunks": chunked(BODY + 1) => 413 "body_too_large";
        "a form of the most bytes": form(BODY) => 200 "";
        "a form of one byte more": form(BODY + 1) => 413 "body_too_large";
        "JSON of the most bytes": json(BODY) => 200 "";
        "JSON of one byte more": json(BODY + 1) => 413 "body_too_large";
        "a length that is no number": request("POST", "/encode", "content-length: y\r\n", PNG)
            => 400 "";
        "two lengths": with_length("POST", "/encode", "content-length: 1\r\n", PNG) => 400 "";
        "a length past all numbers": request("POST", "/encode",
            "content-length: 99999999999999999999\r\n", PNG) => 400 "";
    }
}

fn fields() -> Vec<Case> {
    let labels = |count: usize, chars: usize| {
        let label = "y".repeat(chars);
        let mut fields: Vec<(&str, &[u8])> = vec![("labels", label.as_bytes()); count];
        fields.push(("image", PNG));
        form("/images", &fields).0
    };
    let payload = |json: String| form("/images", &[("image", PNG), ("payload", json.as_bytes())]).0;
    let text = |bytes: usize| payload(format!("\"{}\"", "y".repeat(bytes - 2)));
    let nested = |depth: usize| payload("[".repeat(depth) + &"]".repeat(depth));
    let lines = |count: usize| {
        let lines: String = (1..count).map(|i| format!("x-{i}: y\r\n")).collect();
        let image = ["image\"\r\n", &lines, "z: \""].concat();
        form("/encode", &[(image.as_str(), PNG)]).0
    };
    cases! {
        "32 labels": labels(32, 1) => 201 "";
        "33 labels": labels(33, 1) => 422 "invalid_label";
        "1,000 labels": labels(1000, 1) => 422 "invalid_label";
        "a label of 255 characters": labels(1, 255) => 201 "";
        "a label of 256 characters": labels(1, 256) => 422 "invalid_label";
        "a payload of 16,384 bytes": text(16_384) => 201 "";
        "a payload of 16,385 bytes": text(16_385) => 422 "invalid_payload";
        "a payload of 20,000 bytes, most of them spaces": payload(format!("{}1", " ".repeat(20_000))) => 201 "";
        "a payload in 65,537 bytes": text(65_537) => 422 "invalid_form";
        "a payload nested 100 deep": nested(100) => 201 "";
        "a payload nested 101 deep": nested(101) => 422 "invalid_payload";
        "a payload nested 1,000 deep": nested(1000) => 422 "invalid_payload";
        "a field with 32 header lines": lines(31) => 200 "";
        "a field with 33 header lines": lines(32) => 400 "malformed_request";
    }
}

/// Returns a request with a form, and the form alone.
fn form(target: &str, fields: &[(&str, &[u8])]) -> (Vec<u8>, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!(
            "--edge\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n"
        );
        body.extend(head.into_bytes());
        body.extend_from_slice(value);
        body.extend(b"\r\n");
    }
    body.extend(b"--edge--\r\n");
    let kind = "content-type: multipart/form-data; boundary=edge\r\n";
    (with_length("POST", target, kind, &body), body)
}
