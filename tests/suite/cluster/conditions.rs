//! Writes on one condition at two replicas at once: the log has one of them first, and all replicas agree on which.
//! Knows requests and tags; nothing dies here.

use std::fs;

use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use super::{
    AFTER, POSITION,
    replicas::Cluster,
    server::{TestServer, samples},
};

fn tag(answer: &Response) -> String {
    answer.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_callers_with_one_tag_one_wins() {
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
        assert_eq!(tag[0], tag[1], "the loser is told what the winner made");
        // The same at one that was asked for neither.
        let position = won.headers()[POSITION].to_str().unwrap().to_owned();
        let read = third.client.get(third.at("/images/one"));
        let read = read.header(AFTER, position).send().await.unwrap();
        assert_eq!(read.headers()["etag"], tag[0]);
        (name, value) = ("if-match", tag[0].clone());
    }
    cluster.settle().await;
}
