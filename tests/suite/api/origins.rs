//! Refuses requests that pages of other sites make a browser send, under any host name. Requests
//! are sent with a browser's headers, and without them as programs do.

use std::fs;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::server::{self, TestServer};

const UPRIGHT: &[u8] = include_bytes!("../../fixtures/upright.jpg");
const ADMIN: &str = "administers-everything";
/// The headers of a request from another site.
const EVIL: [(&str, &str); 2] = [
    ("origin", "https://evil.example"),
    ("sec-fetch-site", "cross-site"),
];

/// Sends a request with these headers; returns the status and the problem's code.
async fn ask(
    server: &TestServer,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, Value) {
    let mut request = server.client.request(method.clone(), server.at(path));
    if method != Method::GET {
        request = request.body(UPRIGHT);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let problem: Value = answer.json().await.unwrap_or_default();
    (status, problem["code"].clone())
}

#[tokio::test]
async fn pages_of_other_sites_can_neither_change_nor_start_anything() {
    let server = TestServer::start().await;
    let put = ask(&server, Method::PUT, "/images/mine", &[]).await;
    assert_eq!(put.0, 201);
    let forms = [
        "text/plain",
        "multipart/form-data; boundary=b",
        "application/x-www-form-urlencoded",
    ];
    let mut tried = 0;
    for (method, path) in [
        (Method::POST, "/images"),
        (Method::POST, "/images/batch"),
        (Method::POST, "/search"),
        (Method::POST, "/encode"),
        (Method::POST, "/admin/jobs"),
        (Method::POST, "/admin/models"),
        (Method::POST, "/admin/models/0123456789ab/activate"),
        (Method::POST, "/admin/snapshots"),
        (Method::PUT, "/images/theirs"),
        (Method::PATCH, "/images/mine"),
        (Method::DELETE, "/images/mine"),
        (Method::DELETE, "/admin/models/0123456789ab"),
    ] {
        for form in forms {
            let headers = [&EVIL[..], &[("content-type", form)]].concat();
            let (status, code) = ask(&server, method.clone(), path, &headers).await;
            assert_eq!(
                (status.as_u16(), code),
                (403, "foreign_page".into()),
                "{path}"
            );
            tried += 1;
        }
    }
    assert_eq!(tried, 36);
    let images = server.ask(Method::GET, "/images").await.1;
    assert_eq!(
        (&images["total"], &images["images"][0]["id"]),
        (&1.into(), &"mine".into())
    );
    assert_eq!(
        server.ask(Method::GET, "/admin/jobs").await.1["jobs"],
        Value::Array(vec![])
    );

    // Requests of the service's own page, and of programs.
    let own = [
        ("origin", server.url.as_str()),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(ask(&server, Method::POST, "/search", &own).await.0, 200);
    assert_eq!(
        ask(&server, Method::POST, "/search", &own[..1]).await.0,
        200
    );
    assert_eq!(ask(&server, Method::POST, "/search", &[]).await.0, 200);
    // Reading is allowed. CORS decides who sees the response.
    assert_eq!(ask(&server, Method::GET, "/images", &EVIL).await.0, 200);
}

#[tokio::test]
async fn without_keys_only_local_host_names_are_answered() {
    let port = |server: &TestServer| server.url.rsplit(':').next().unwrap().to_owned();
    let server = TestServer::start().await;
    let (port, named) = (port(&server), "evil.example");
    for (host, status) in [
        (format!("localhost:{port}"), 200),
        (format!("127.0.0.1:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        (format!("scihcgrl:{port}"), 200),
        (format!("{named}:{port}"), 403),
        (format!("127.0.0.1.{named}"), 403),
    ] {
        // A browser takes a page under that name for the same origin.
        let origin = format!("http://{host}");
        let headers = [("host", host.as_str()), ("origin", &origin)];
        for (method, path) in [
            (Method::GET, "/images"),
            (Method::POST, "/search"),
            (Method::GET, "/"),
        ] {
            let (found, code) = ask(&server, method, path, &headers).await;
            assert_eq!(found, status, "{host} {path}");
            if status == 403 {
                assert_eq!(code, "foreign_host");
            }
        }
    }
    for (head, status) in [
        ("", "400"),
        ("Host: localhost\r\nHost: localhost\r\n", "400"),
        ("Host: localhost\r\n", "200"),
    ] {
        let address = server.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /images HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head} {answer}");
    }
}

#[tokio::test]
async fn configured_origins_are_allowed_and_a_key_does_not_replace_them() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, format!("admin = ['{ADMIN}']")).unwrap();
    let keys = ["--keys-file", keys.to_str().unwrap()];
    let named = [
        "--cors-origin",
        "https://shop.example",
        "--public-url",
        "https://photos.example",
    ];
    let server = TestServer::start_in(
        folder,
        &[keys, [named[0], named[1]], [named[2], named[3]]].concat(),
    );
    let key = format!("Bearer {ADMIN}");
    for (host, origin, site, status) in [
        // Behind a proxy that replaces Host by its own name for the service.
        ("127.0.0.1:8080", "https://photos.example", "", 200),
        ("127.0.0.1:8080", "http://photos.example", "", 403),
        (
            "photos.example",
            "https://photos.example",
            "same-origin",
            200,
        ),
        ("photos.example", "https://shop.example", "cross-site", 200),
        ("photos.example", "https://evil.example", "cross-site", 403),
        ("photos.example", "null", "", 403),
        // With keys, any host name is accepted.
        ("other.example", "", "", 200),
    ] {
        let given = [
            ("host", host),
            ("origin", origin),
            ("sec-fetch-site", site),
            ("authorization", &key),
        ];
        let given: Vec<_> = given
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let (found, _) = ask(&server, Method::POST, "/search", &given).await;
        assert_eq!(found, status, "{host} {origin} {site}");
    }
}

#[test]
fn an_invalid_origin_prevents_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let model = server::model(folder.path());
    for origin in [
        "shop.example",
        "https://shop.example/path",
        "ftp://shop.example",
        "https://",
    ] {
        for option in ["--cors-origin", "--public-url"] {
            let mut program = server::program(folder.path(), &model);
            let output = program.args([option, origin]).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                !output.status.success() && stderr.contains("http:// or https://"),
                "{stderr}"
            );
        }
    }
}
