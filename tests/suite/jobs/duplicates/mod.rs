//! Groups of copies: found by a job, listed, shown for an image, printed. Models of random weights,
//! so only an identical picture is surely a copy.

mod kills;

use std::fs;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::server::{self, TestServer, samples};

/// Creates the job that finds the groups.
async fn begin(server: &TestServer) -> Value {
    let body = json!({ "kind": "find_duplicates" });
    let create = server.client.post(server.at("/admin/jobs")).json(&body);
    let answer = create.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    answer.json().await.unwrap()
}

/// Runs a job that finds the groups; returns its result.
async fn find(server: &TestServer) -> Value {
    let job = begin(server).await;
    let job = server.wait_for_end(&job["id"]).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    job["result"].clone()
}

/// Stores sample images of cats, given by id and number.
async fn store(server: &TestServer, images: &[(&str, usize)]) {
    for (id, number) in images {
        let put = server.client.put(server.at(&format!("/images/{id}")));
        let photo = fs::read(&samples("cat")[*number]).unwrap();
        let put = put.body(photo).send().await.unwrap();
        put.error_for_status().unwrap();
    }
}

/// Returns each group of a response: the number of images that it was found with, and the ids,
/// oldest first.
fn groups(answer: &Value) -> Vec<(u64, Vec<&str>)> {
    let groups = answer["groups"].as_array().unwrap().iter();
    let shown = groups.map(|group| {
        let copies = group["copies"].as_array().unwrap().iter();
        let images = [&group["oldest"]].into_iter().chain(copies);
        (
            group["images"].as_u64().unwrap(),
            images.map(|image| image["id"].as_str().unwrap()).collect(),
        )
    });
    shown.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_found_and_listed_and_deleted_ones_are_left_out() {
    let server = TestServer::start().await;
    let get = async |server: &TestServer, path: &str| -> (StatusCode, Value) {
        server.ask(Method::GET, &format!("/duplicates{path}")).await
    };
    let (status, none) = get(&server, "").await;
    assert_eq!(
        (status.as_u16(), &none["code"]),
        (404, &json!("duplicates_not_found"))
    );
    assert!(none["detail"].as_str().unwrap().contains("find_duplicates"));

    let images = [
        ("pair", 1),
        ("first", 0),
        ("alone", 2),
        ("second", 0),
        ("other", 1),
        ("third", 0),
    ];
    store(&server, &images).await;
    let result = find(&server).await;
    assert_eq!(
        (&result["images"], &result["groups"], &result["copies"]),
        (&json!(6), &json!(2), &json!(3))
    );
    let (_, found) = get(&server, "").await;
    let three = (3, vec!["first", "second", "third"]);
    let two = (2, vec!["pair", "other"]);
    assert_eq!(groups(&found), [three, two.clone()], "{found}");
    assert_eq!(
        (&found["stale"], &found["total"], &found["commit"]),
        (&json!(false), &json!(2), &result["commit"])
    );
    assert_eq!(found["groups"][0]["copies"][0]["similarity"], 1.0);
    let (_, page) = get(&server, "?offset=1&limit=1").await;
    assert_eq!((groups(&page), &page["total"]), (vec![two], &json!(2)));
    let (_, past) = get(&server, "?offset=18446744073709551615").await;
    assert_eq!(groups(&past), []);
    for image in ["first", "third"] {
        let (_, of) = get(&server, &format!("/{image}")).await;
        assert_eq!(groups(&of)[..], groups(&found)[..1]);
    }
    let (_, rest) = get(&server, "/third?offset=1&limit=1").await;
    assert_eq!(groups(&rest), [(3, vec!["first", "third"])]);
    // Without its oldest image, a group is formed by the others.
    let but_first = "?filter=id%20!%3D%20%22first%22";
    let (_, among) = get(&server, but_first).await;
    let expected = [(2, vec!["pair", "other"]), (2, vec!["second", "third"])];
    assert_eq!(
        (groups(&among), &among["images"]),
        (expected.to_vec(), &json!(5))
    );
    let (_, of) = get(&server, &format!("/third{but_first}")).await;
    assert_eq!(groups(&of)[..], expected[1..]);
    for (path, status, code) in [
        ("?filter=id%20%3D", 400, "invalid_filter"),
        ("?filter=colour%20EXISTS", 400, "undeclared_field"),
        ("/alone", 404, "group_not_found"),
        ("/nobody", 404, "group_not_found"),
        ("?limit=0", 422, "invalid_parameter"),
        ("?radius=2", 422, "invalid_parameter"),
    ] {
        let (found, problem) = get(&server, path).await;
        assert_eq!(
            (found.as_u16(), &problem["code"]),
            (status, &json!(code)),
            "{path}"
        );
    }

    // The groups survive a restart. Deleted images are left out.
    let server = TestServer::start_in(server.kill(), &[]);
    assert_eq!(groups(&get(&server, "").await.1), groups(&found));
    server.ask(Method::DELETE, "/images/second").await;
    server.ask(Method::DELETE, "/images/pair").await;
    let (_, left) = get(&server, "").await;
    assert_eq!(groups(&left), [(3, vec!["first", "third"])]);
    assert_eq!(left["stale"], true);
    store(&server, &[("third", 3)]).await;
    assert_eq!(groups(&get(&server, "").await.1), []);

    // The command finds them again, because the gallery has changed.
    store(&server, &[("late", 2), ("latest", 2)]).await;
    let print = |arguments: &'static [&str]| {
        let mut command = server::scihcgrl();
        command
            .args(["duplicates", "--url", &server.url])
            .args(arguments);
        async move {
            let printed = tokio::task::spawn_blocking(move || command.output().unwrap());
            let printed = printed.await.unwrap();
            let stderr = String::from_utf8_lossy(&printed.stderr).into_owned();
            assert!(printed.status.success(), "{stderr}");
            (String::from_utf8(printed.stdout).unwrap(), stderr)
        }
    };
    let (old, _) = print(&["--find", "never"]).await;
    assert!(old.contains("the gallery has changed since"), "{old}");
    let (printed, stderr) = print(&[]).await;
    assert!(stderr.contains("succeeded"), "{stderr}");
    assert!(printed.starts_with("1 groups, 2 of 6 images"), "{printed}");
    assert!(
        printed.contains("alone  3 images\n  1.000  late\n  1.000  latest\n"),
        "{printed}"
    );
    let (lines, stderr) = print(&["--json"]).await;
    assert_eq!(stderr, "", "fresh groups are not searched for again");
    let line: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!(line["oldest"]["id"], "alone");
}

#[tokio::test]
async fn a_model_without_thresholds_finds_no_duplicates_and_the_error_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    server::write_model_without_thresholds(&model);
    let server = TestServer::start_in(folder, &[]);
    let body = json!({ "kind": "find_duplicates" });
    let post = server.client.post(server.at("/admin/jobs")).json(&body);
    let post = post.send().await.unwrap();
    let answers = [
        server.ask(Method::GET, "/duplicates").await,
        (post.status(), post.json().await.unwrap()),
    ];
    for (status, problem) in answers {
        assert_eq!(
            (status.as_u16(), &problem["code"]),
            (409, &json!("no_thresholds")),
            "{problem}"
        );
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("similarity threshold for copies")
        );
    }
    let body = json!({ "kind": "find_duplicates", "model": "0123456789ab" });
    let post = server.client.post(server.at("/admin/jobs")).json(&body);
    assert_eq!(post.send().await.unwrap().status(), 422);
}
