//! Every replica returns the groups of copies that a worker finds.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    harness::cluster::Cluster,
    server::{self, TestServer, samples},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_answers_the_groups_that_a_worker_found() {
    let cluster = Cluster::empty();
    let replicas = [(); 2].map(|()| cluster.one_more("serve", &["--no-jobs"]));
    let [first, second] = &replicas;
    first.store(&["cat"], 4).await;
    let photo = std::fs::read(&samples("cat")[2]).unwrap();
    let put = first.client.put(first.at("/images/copy")).body(photo);
    put.send().await.unwrap().error_for_status().unwrap();
    let worker = cluster.one_more("worker", &[]);
    let find = async || -> Value {
        let body = json!({ "kind": "find_duplicates" });
        let create = second.client.post(second.at("/admin/jobs")).json(&body);
        let job: Value = create.send().await.unwrap().json().await.unwrap();
        let job = first.wait_for_end(&job["id"]).await;
        assert_eq!(job["state"], "succeeded", "{job}");
        // A replica has the groups once it shows the job as succeeded.
        assert_eq!(second.wait_for_end(&job["id"]).await["state"], "succeeded");
        job["result"].clone()
    };
    let answer = async |replica: &TestServer| -> Value {
        let (status, answer) = replica.ask(Method::GET, "/duplicates").await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let result = find().await;
    let answers = [answer(first).await, answer(second).await];
    assert_eq!(answers[0], answers[1]);
    let [group] = &answers[0]["groups"].as_array().unwrap()[..] else {
        panic!("{}", answers[0]);
    };
    assert_eq!(group["oldest"]["id"], "cat-2");
    assert_eq!(group["copies"][0]["id"], "copy");
    assert_eq!(
        (&answers[0]["commit"], &answers[0]["stale"]),
        (&result["commit"], &json!(false))
    );
    first.ask(Method::DELETE, "/images/copy").await;
    server::eventually("the other replica has applied the deletion", async || {
        (answer(second).await["stale"] == true).then_some(())
    })
    .await;
    let result = find().await;
    assert_eq!(result["groups"], 0);
    for replica in &replicas {
        let now = answer(replica).await;
        assert_eq!((&now["total"], &now["stale"]), (&json!(0), &json!(false)));
    }
    drop(worker);
}
