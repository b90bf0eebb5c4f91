//! Broken, hostile and mistaken requests are refused with a reason, and odd but valid pictures are
//! accepted. One server gets all of them and must still work afterwards.

mod cases;

use crate::server;
use base64::{Engine, prelude::BASE64_STANDARD};
use cases::{Api, bodies, boxes, filters, names, parameters, pictures};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const UPRIGHT: &[u8] = include_bytes!("../../../fixtures/upright.jpg");
/// The largest body that the service reads by default.
const LIMIT: usize = 20 << 20;

macro_rules! fixtures {
    ($($name:literal),+) => { [$(($name, include_bytes!(concat!("../../../fixtures/", $name)).as_slice())),+] };
}

#[tokio::test]
async fn bad_input_is_refused_with_a_reason_and_does_no_harm() {
    let server = server::TestServer::start().await;
    let api = Api {
        url: &server.url,
        client: &server.client,
    };
    let cases = [
        pictures(&api),
        bodies(&api),
        parameters(&api),
        boxes(&api),
        names(&api),
        filters(&api),
    ];
    for case in cases.into_iter().flatten() {
        let answer = case.request.send().await.unwrap();
        let kind = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let status = answer.status().as_u16();
        let problem: Value = answer.json().await.unwrap();
        let answered = (status, problem["code"].as_str().unwrap());
        assert_eq!(
            answered,
            (case.status, case.code),
            "{}: {problem}",
            case.what
        );
        println!("{}  {:<30}  {}", case.status, case.code, case.what);
        assert_eq!(kind, "application/problem+json", "{}", case.what);
        assert_eq!(problem["request_id"], id, "{}", case.what);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(case.detail), "{}: {detail}", case.what);
    }
    assert!(
        chunked(&server.url)
            .await
            .contains("\"code\":\"body_too_large\"")
    );

    for (name, bytes) in fixtures![
        "one.png",
        "grey.jpg",
        "alpha.png",
        "cmyk.jpg",
        "deep.png",
        "animated.gif",
        "rotated.jpg",
        "small.webp",
        "small.bmp",
        "small.tiff"
    ] {
        println!("200  {:<30}  {name}", "decoded");
        let raw = api.post("/encode").body(bytes).send().await.unwrap();
        assert_eq!(raw.status(), StatusCode::OK);
        let uri = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes));
        let body = json!({ "image": uri });
        let json = api.post("/encode").json(&body).send().await.unwrap();
        let (raw, json): (Value, Value) = (raw.json().await.unwrap(), json.json().await.unwrap());
        assert_eq!(raw["codes"], json["codes"]);
    }
    let last = api.form("/search", "image").send().await.unwrap();
    assert_eq!(last.status(), StatusCode::OK);
}

/// Sends a body over the limit in chunks, without announcing its length.
async fn chunked(url: &str) -> String {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await.unwrap();
    let head = "POST /search HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let chunk = [b"100000\r\n".to_vec(), vec![0; 1 << 20], b"\r\n".to_vec()].concat();
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..=LIMIT >> 20 {
        stream.write_all(&chunk).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
