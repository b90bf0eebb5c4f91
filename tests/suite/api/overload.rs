//! Overload: a full queue, late images, large batches and unfinished requests. Every accepted
//! request gets a response. No timing is asserted.

use std::collections::BTreeMap;

use crate::server::{self, TestServer};
use reqwest::multipart::{Form, Part};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

const UPRIGHT: &[u8] = include_bytes!("../../fixtures/upright.jpg");
const GREY: &[u8] = include_bytes!("../../fixtures/grey.jpg");

fn start(arguments: &[&str]) -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    TestServer::start_in(folder, arguments)
}

/// Sends this many pictures to encode at once. Counts the responses by status.
async fn at_once(server: &TestServer, count: usize) -> BTreeMap<u16, usize> {
    let sent: Vec<_> = (0..count)
        .map(|_| {
            let request = server.client.post(server.at("/encode")).body(UPRIGHT);
            tokio::spawn(async move {
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let retry_after = answer.headers().contains_key("retry-after");
                assert_eq!(retry_after, status != 200, "{status}");
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
async fn a_full_queue_refuses_at_once() {
    let server = start(&["--queue", "2", "--max-batch", "1"]);
    let statuses = at_once(&server, 64).await;
    assert_eq!(
        statuses.keys().copied().collect::<Vec<_>>(),
        [200, 429],
        "{statuses:?}"
    );
    let refused = server
        .metric("scihcgrl_images_dropped_total{reason=\"full\"}")
        .await;
    assert_eq!(refused.unwrap() as usize, statuses[&429]);
    assert_eq!(server.metric("scihcgrl_queue_depth").await, Some(0.0));
    // The service recovers at once.
    assert_eq!(at_once(&server, 1).await, BTreeMap::from([(200, 1)]));
}

#[tokio::test]
async fn an_image_past_its_deadline_is_not_encoded() {
    let server = start(&["--deadline-ms", "0"]);
    assert_eq!(at_once(&server, 3).await, BTreeMap::from([(503, 3)]));
    let late = server
        .metric("scihcgrl_images_dropped_total{reason=\"late\"}")
        .await;
    assert_eq!(late, Some(3.0));
    let passes = server.metric("scihcgrl_batch_images_count").await;
    assert_eq!(passes, Some(0.0), "no forward pass");
}

#[tokio::test]
async fn each_image_of_a_batch_gets_its_own_answer() {
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
    // Fields before one image do not apply to the next.
    assert_eq!(items[3]["image"]["labels"], serde_json::json!(["all"]));
    assert_eq!(items.as_array().unwrap().len(), 43);

    // Images before a mistake in the form are stored. The response has them and the mistake.
    for (field, text, code, words) in [
        ("colour", "red", "unknown_field", "`colour`"),
        ("id", "my-car", "invalid_form", "after the last image"),
        ("labels", "car", "invalid_form", "after the last image"),
        ("payload", "{}", "invalid_form", "after the last image"),
    ] {
        let wrong = Form::new()
            .part("image", file("d.jpg", GREY))
            .text(field, text);
        let answer = batch(wrong).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(
            (&answer["stored"], &answer["failed"]),
            (&1.into(), &1.into())
        );
        assert_eq!(answer["items"][0]["status"], 201);
        let problem = &answer["items"][1]["problem"];
        assert_eq!(problem["code"], code);
        assert!(
            problem["detail"].as_str().unwrap().contains(words),
            "{problem}"
        );
    }
    let images = server.metric("scihcgrl_images").await;
    assert_eq!(images, Some(45.0));
    let route = Form::new()
        .text("id", "batch")
        .part("image", file("f.jpg", GREY));
    let answer: Value = batch(route).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        answer["items"][0]["problem"]["code"], "invalid_id",
        "{answer}"
    );
    for field in ["id", "payload"] {
        let twice = Form::new().text(field, "1").text(field, "2");
        let answer = batch(twice.part("image", file("e.jpg", GREY))).send().await;
        let answer: Value = answer.unwrap().json().await.unwrap();
        assert_eq!(
            (&answer["stored"], &answer["failed"]),
            (&0.into(), &1.into())
        );
        let detail = answer["items"][0]["problem"]["detail"].as_str().unwrap();
        assert!(detail.contains("comes twice"), "{detail}");
    }
    // Without an image the whole form is refused.
    for (form, code) in [
        (Form::new().text("colour", "red"), "unknown_field"),
        (
            (0..33).fold(Form::new(), |form, _| form.text("labels", "x")),
            "invalid_label",
        ),
    ] {
        let answer = batch(form).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], code);
    }
    let empty = batch(Form::new().text("labels", "x")).send().await.unwrap();
    assert_eq!(
        empty.json::<Value>().await.unwrap()["code"],
        "missing_image"
    );
}

#[tokio::test]
async fn unchanged_originals_are_not_sent_again_and_text_is_compressed() {
    let server = start(&[]);
    let put = server.client.put(server.at("/images/one")).body(UPRIGHT);
    put.send().await.unwrap().error_for_status().unwrap();
    let content = || server.client.get(server.at("/images/one/content"));
    let first = content().send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    let unchanged = content()
        .header("if-none-match", &tag)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (unchanged.status().as_u16(), &unchanged.headers()["etag"]),
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
    // Static files are compressed once, with gzip only.
    let asset = server.client.get(server.at("/openapi.yaml"));
    let other = asset.header("accept-encoding", "deflate").send().await;
    assert_eq!(other.unwrap().headers().get("content-encoding"), None);
    let docs = server.client.get(server.at("/docs/")).send().await.unwrap();
    let policy = docs.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src"), "{policy}");
    for (path, compressed) in [("/openapi.yaml", true), ("/images/one/content", false)] {
        let answer = packed(path).send().await.unwrap();
        let encoding = answer.headers().get("content-encoding");
        assert_eq!(
            encoding.is_some_and(|found| found == "gzip"),
            compressed,
            "{path}"
        );
    }
}

#[tokio::test]
async fn http_2_works_without_tls() {
    let server = start(&[]);
    let client = server::client().http2_prior_knowledge().build().unwrap();
    let answer = client.get(server.at("/info")).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn an_unfinished_request_does_not_prevent_stopping() {
    let mut server = start(&["--drain-seconds", "1"]);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow = tokio::net::TcpStream::connect(&address).await.unwrap();
    let head = "POST /encode HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf";
    slow.write_all(head.as_bytes()).await.unwrap();
    let info = server.client.get(server.at("/info")).send().await.unwrap();
    assert_eq!(info.status(), 200);
    assert!(server.terminate());
}
