//! Fields that are declared and built, and jobs that change images by a filter, at replicas: all
//! agree afterwards.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    harness::cluster::Cluster,
    server::{self, TestServer, samples},
};

/// Sends JSON to a replica; returns the answer.
async fn send(replica: &TestServer, method: Method, path: &str, body: &Value) -> Value {
    let request = replica.client.request(method, replica.at(path)).json(body);
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let answer: Value = answer.json().await.unwrap_or_default();
    assert!(status.is_success(), "{path}: {answer}");
    answer
}

/// Returns the ids of the images that pass a filter.
async fn passing(replica: &TestServer, filter: &str) -> Vec<String> {
    let list = replica.client.get(replica.at("/images"));
    let list = list.query(&[("filter", filter)]);
    let page: Value = list.send().await.unwrap().json().await.unwrap();
    let images = page["images"].as_array();
    let images = images.unwrap_or_else(|| panic!("{page}"));
    images
        .iter()
        .map(|image| image["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_agree_after_builds_and_changes_by_a_filter() {
    let mut cluster = Cluster::start().await;
    let photo = fs::read(&samples("cat")[0]).unwrap();
    for number in 0..40 {
        let replica = &cluster.replicas[number % 3];
        let url = format!("/images/{number:02}");
        let put = replica.client.put(replica.at(&url)).body(photo.clone());
        put.send().await.unwrap().error_for_status().unwrap();
        let payload = json!({ "payload": { "n": number, "of": "x" } });
        send(replica, Method::PATCH, &url, &payload).await;
    }
    // Declared at two replicas at once, it has one job.
    let kind = json!({ "type": "integer" });
    let [first, second, third] = &cluster.replicas[..] else {
        panic!()
    };
    let (one, other) = tokio::join!(
        send(first, Method::PUT, "/admin/fields/n", &kind),
        send(second, Method::PUT, "/admin/fields/n", &kind),
    );
    assert_eq!(one["number"], other["number"]);
    let jobs: Vec<&Value> = [&one, &other]
        .into_iter()
        .map(|field| &field["job"]["id"])
        .filter(|id| !id.is_null())
        .collect();
    assert!(jobs.windows(2).all(|two| two[0] == two[1]), "{one} {other}");
    for job in jobs {
        let job = third.wait_for_end(job).await;
        assert_eq!(job["state"], "succeeded", "{job}");
    }
    cluster.settle().await;
    for replica in &cluster.replicas {
        assert_eq!(passing(replica, "n < 3").await, ["00", "01", "02"]);
    }

    let change = json!({
        "kind": "change_images", "filter": "n < 30", "add_labels": ["low"], "payload": { "of": null },
    });
    let delete =
        json!({ "kind": "delete_images", "filter": r#"labels = "low" AND n >= 10"#, "expect": 20 });
    for (body, counted) in [(change, ("changed", 30)), (delete, ("deleted", 20))] {
        let job = send(first, Method::POST, "/admin/jobs", &body).await;
        let job = second.wait_for_end(&job["id"]).await;
        assert_eq!(job["result"][counted.0], counted.1, "{job}");
        // A replica may start the next job before it has applied the writes of this one.
        cluster.settle().await;
    }
    for replica in &cluster.replicas {
        assert_eq!(passing(replica, r#"labels = "low""#).await.len(), 10);
        assert_eq!(passing(replica, "n >= 0").await.len(), 20);
    }

    // A replica that starts again finds nothing to build, and creates no job.
    let folder = cluster.kill(2);
    cluster.restart(2, folder);
    server::eventually("the replica is ready", async || {
        let (status, _) = cluster.replicas[2].ask(Method::GET, "/readyz").await;
        status.is_success().then_some(())
    })
    .await;
    cluster.settle().await;
    let (_, page) = cluster.replicas[2].ask(Method::GET, "/admin/jobs").await;
    assert_eq!(page["jobs"].as_array().unwrap().len(), 3, "{page}");
    assert_eq!(passing(&cluster.replicas[2], "n < 3").await.len(), 3);
}
