//! A request that two replicas get at once, because its client repeats it after a timeout, creates
//! one job.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{harness::cluster::Cluster, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_idempotency_key_at_two_replicas_at_once_creates_one_job() {
    let cluster = Cluster::empty();
    let replicas = [(); 2].map(|()| cluster.one_more("serve", &["--no-jobs"]));
    let mut ids = BTreeSet::new();
    let rounds = server::times(20, 200);
    for round in 0..rounds {
        let ask = async |replica: usize| -> (u16, Value) {
            let replica = &replicas[replica];
            let body = json!({ "kind": "fine_tune", "epochs": 1 });
            let request = replica.client.post(replica.at("/admin/jobs")).json(&body);
            let request = request.header("idempotency-key", format!("round-{round}"));
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        };
        let (first, second) = tokio::join!(ask(0), ask(1));
        assert_eq!(first.1["id"], second.1["id"], "{first:?} {second:?}");
        // Both may respond that the job is new if they receive the request in the same millisecond.
        let statuses = [first.0, second.0];
        assert!(statuses.contains(&202), "{first:?} {second:?}");
        assert!(
            statuses.iter().all(|status| [200, 202].contains(status)),
            "{statuses:?}"
        );
        ids.insert(first.1["id"].to_string());
    }
    for replica in &replicas {
        let (_, page) = replica.ask(Method::GET, "/admin/jobs?limit=1000").await;
        let known = page["jobs"].as_array().unwrap().iter();
        let known: BTreeSet<String> = known.map(|job| job["id"].to_string()).collect();
        assert_eq!(known, ids);
        assert_eq!(ids.len(), rounds);
    }
}
