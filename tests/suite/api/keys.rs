//! Access control: a service with keys, called with each of them, without one and with wrong ones;
//! and key files that it refuses at start.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::server::{self, TestServer};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

const READ: &str = "reads-and-nothing-else";
const WRITE: &str = "writes-and-reads-too";
const NEW_WRITE: &str = "writes-after-a-rotation";
const ADMIN: &str = "administers-everything";
const UPRIGHT: &[u8] = include_bytes!("../../fixtures/upright.jpg");

fn with_keys(more: &[&str]) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let keys = folder.path().join("keys.toml");
    let text =
        format!("read = ['{READ}']\nwrite = ['{WRITE}', '{NEW_WRITE}']\nadmin = ['{ADMIN}']\n");
    fs::write(&keys, text).unwrap();
    let mut arguments = vec!["--keys-file", keys.to_str().unwrap()];
    arguments.extend(more);
    TestServer::start_in(folder, &arguments)
}

async fn ask(server: &TestServer, method: Method, path: &str, key: Option<&str>) -> Response {
    let request = server.client.request(method, server.at(path)).body(UPRIGHT);
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_key_is_accepted_where_its_role_suffices() {
    let server = with_keys(&[]);
    let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
    for (method, path, key, status) in [
        (&get, "/livez", None, 200),
        (&get, "/readyz", None, 200),
        (&get, "/openapi.yaml", None, 200),
        (&get, "/docs/", None, 200),
        (&put, "/images/a", None, 401),
        (&put, "/images/a", Some("something-else-altogether"), 401),
        (&put, "/images/a", Some(READ), 403),
        (&put, "/images/a", Some(WRITE), 201),
        (&put, "/images/a", Some(NEW_WRITE), 200),
        (&put, "/images/a", Some(ADMIN), 200),
        (&post, "/search", None, 401),
        (&post, "/search", Some(READ), 200),
        (&get, "/images/a", Some(READ), 200),
        (&get, "/images/a/content", None, 401),
        (&get, "/metrics", None, 401),
        (&get, "/metrics", Some(READ), 200),
        (&get, "/admin/jobs", Some(WRITE), 403),
        (&get, "/admin/jobs", Some(ADMIN), 200),
    ] {
        let answer = ask(&server, method.clone(), path, key).await;
        assert_eq!(answer.status(), status, "{method} {path} {key:?}");
        let challenge = answer.headers().contains_key("www-authenticate");
        assert_eq!(challenge, status == 401, "{method} {path}");
    }
    let problem: Value = ask(&server, put, "/images/a", Some(READ))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(problem["code"], "wrong_role");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("read") && detail.contains("write"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_key_over_its_rate_is_refused_with_retry_after() {
    let server = with_keys(&["--requests-per-second", "2"]);
    let mut refused = None;
    for _ in 0..5 {
        let answer = ask(&server, Method::GET, "/info", Some(READ)).await;
        refused = Some(answer).filter(|answer| answer.status() == StatusCode::TOO_MANY_REQUESTS);
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(
        refused.json::<Value>().await.unwrap()["code"],
        "rate_limited"
    );
    // Another key has a rate of its own.
    let other = ask(&server, Method::GET, "/info", Some(WRITE)).await;
    assert_eq!(other.status(), 200);
}

/// Returns a folder and everything under it, with permissions.
fn permissions(folder: &Path) -> Vec<(PathBuf, u32)> {
    let mode = fs::metadata(folder).unwrap().permissions().mode() & 0o777;
    let mut found = vec![(folder.to_owned(), mode)];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(permissions(&path)),
            false => {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                found.push((path, mode));
            }
        }
    }
    found
}

#[tokio::test]
async fn data_is_readable_by_its_owner_alone_and_readable_key_files_are_warned_about() {
    let warned = |server: &TestServer| {
        let log = fs::read_to_string(server.folder.path().join("server.log")).unwrap();
        log.matches("users other than its owner and group can read")
            .count()
    };
    let server = with_keys(&[]);
    assert_eq!(warned(&server), 1);
    let put = ask(&server, Method::PUT, "/images/a", Some(WRITE)).await;
    assert_eq!(put.status(), 201);
    let all = permissions(&server.folder.path().join("data"));
    assert!(all.len() > 10, "{all:?}");
    for (path, mode) in all {
        assert_eq!(mode & 0o077, 0, "{path:?} {mode:o}");
    }
    let keys = server.folder.path().join("keys.toml");
    let given = keys.to_str().unwrap().to_owned();
    let mut server = server;
    for (mode, warnings) in [(0o640, 1), (0o620, 2)] {
        fs::set_permissions(&keys, fs::Permissions::from_mode(mode)).unwrap();
        server = TestServer::start_in(server.kill(), &["--keys-file", &given]);
        assert_eq!(warned(&server), warnings, "{mode:o}");
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_send_a_key() {
    let server = with_keys(&["--cors-origin", "https://shop.example"]);
    for (origin, allowed) in [
        ("https://shop.example", true),
        ("https://other.example", false),
    ] {
        let preflight = server
            .client
            .request(Method::OPTIONS, server.at("/search"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            );
        let answer = preflight.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let headers = answer.headers();
        assert_eq!(headers.contains_key("access-control-allow-origin"), allowed);
        let names = headers["access-control-allow-headers"].to_str().unwrap();
        assert!(names.contains("authorization"), "{names}");
    }
}

#[test]
fn unusable_keys_prevent_a_start_and_are_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let model = server::model(folder.path());
    let keys = folder.path().join("keys.toml");
    let stderr = |text: &str, command: &mut Command| {
        fs::write(&keys, text).unwrap();
        let output = command.arg("--keys-file").arg(&keys).output().unwrap();
        assert!(!output.status.success(), "{text}");
        String::from_utf8(output.stderr).unwrap()
    };
    let secret = "0123456789abcdef";
    for (text, words) in [
        (format!("write = [{secret}]"), "is not TOML"),
        (format!("write = '{secret}'"), "not a list"),
        (
            format!("owner = ['{secret}']"),
            "there are read, write and admin",
        ),
        (
            format!("write = ['{secret}', '{secret}']"),
            "the two keys of the role write are the same",
        ),
        (
            format!("read = ['{secret}']\nwrite = ['{secret}']"),
            "also a key of another role",
        ),
        ("write = ['short']".to_owned(), "16 to 256"),
    ] {
        let stderr = stderr(&text, &mut server::program(folder.path(), &model));
        assert!(
            stderr.contains(words) && !stderr.contains(secret),
            "{stderr}"
        );
    }
    let mut open = server::program(folder.path(), &model);
    let refused = open.args(["--addr", "0.0.0.0:0"]).output().unwrap();
    let refused = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.contains("--keys-file"), "{refused}");
    let mut both = server::program(folder.path(), &model);
    both.env("SCIHCGRL_WRITE_KEYS", format!("{WRITE},{NEW_WRITE}"));
    let stderr = stderr(&format!("write = ['{secret}']"), &mut both);
    assert!(stderr.contains("there are 3 keys"), "{stderr}");
}

/// A caller that guesses keys must wait; a caller with a key need not.
#[tokio::test]
async fn wrong_keys_are_rate_limited_by_address() {
    let server = with_keys(&[]);
    let mut refused = [0, 0];
    let tries: Vec<_> = (0..200)
        .map(|number| {
            let request = server.client.get(server.at("/images"));
            let request = request.bearer_auth(format!("a-wrong-key-{number:08}"));
            tokio::spawn(async move { request.send().await.unwrap() })
        })
        .collect();
    let known = ask(&server, Method::GET, "/images", Some(READ)).await;
    assert_eq!(known.status(), StatusCode::OK);
    for tried in tries {
        let answer = tried.await.unwrap();
        match answer.status() {
            StatusCode::UNAUTHORIZED => refused[0] += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                assert_eq!(answer.headers()["retry-after"], "1");
                let problem: Value = answer.json().await.unwrap();
                assert_eq!(problem["code"], "rate_limited");
                refused[1] += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(refused[0] >= 10 && refused[1] >= 100, "{refused:?}");
}
