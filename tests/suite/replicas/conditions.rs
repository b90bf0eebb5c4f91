//! Conditional writes at two replicas at once. The log orders them, and all replicas agree on the
//! winner.

use std::fs;

use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use super::{
    AFTER, POSITION,
    harness::cluster::Cluster,
    server::{TestServer, samples},
};

fn tag(answer: &Response) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writes_on_one_tag_at_two_replicas_one_wins() {
    let cluster = Cluster::start().await;
    let photo = fs::read(&samples("cat")[0]).unwrap();
    let ask = async |replica: &TestServer, method: Method, name: &str, value: &str| {
        let request = replica
            .client
            .request(method.clone(), replica.at("/images/one"));
        let request = request.header(name, value);
        let request = match method {
            Method::PUT => request.body(photo.clone()),
            Method::PATCH => request.json(&json!({ "labels": [replica.url] })),
            _ => request,
        };
        request.send().await.unwrap()
    };
    let [first, second, third] = &cluster.replicas[..] else {
        panic!()
    };
    let (mut name, mut value) = ("if-none-match", "*".to_owned());
    for round in 0..40 {
        let method = [Method::PUT, Method::PATCH][usize::from(round % 4 > 0)].clone();
        let answers = tokio::join!(
            ask(first, method.clone(), name, &value),
            ask(second, method, name, &value)
        );
        let [won, lost] = match answers {
            (won, lost) if won.status().is_success() => [won, lost],
            (lost, won) => [won, lost],
        };
        let statuses = (won.status().is_success(), lost.status());
        assert_eq!(statuses, (true, StatusCode::PRECONDITION_FAILED));
        let tag = [tag(&won), tag(&lost)];
        assert_eq!(
            tag[0], tag[1],
            "the refusal has the tag of the winner's image"
        );
        // A third replica shows the same tag.
        let position = won.headers()[POSITION].to_str().unwrap().to_owned();
        let read = third.client.get(third.at("/images/one"));
        let read = read.header(AFTER, position).send().await.unwrap();
        assert_eq!(read.headers()["etag"], tag[0]);
        (name, value) = ("if-match", tag[0].clone());
    }
    cluster.settle().await;
}
