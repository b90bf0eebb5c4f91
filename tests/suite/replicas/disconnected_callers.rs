//! A caller that hangs up before its write is in the log: after the write is applied, the replaced
//! or deleted original is still removed.

use std::time::Duration;

use reqwest::Method;

use super::{
    harness::cluster::Cluster,
    harness::nats::signal,
    server::{self, samples},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_original_is_removed_although_its_caller_hung_up() {
    let mut cluster = Cluster::empty();
    let replicas = [(); 2].map(|()| cluster.one_more("serve", &[]));
    cluster.replicas.extend(replicas);
    let replica = &cluster.replicas[0];
    replica.store(&["cat"], 3).await;
    cluster.settle().await;
    let [originals, _] = cluster.places();
    assert_eq!(server::original_files(&originals).len(), 3);

    // The NATS servers do not respond until the callers have hung up.
    let nodes = 0..cluster.nats.count();
    nodes
        .clone()
        .for_each(|node| signal(cluster.nats.process(node), "-STOP"));
    let photo = std::fs::read(&samples("ship")[0]).unwrap();
    for request in [
        replica.client.delete(replica.at("/images/cat-0")),
        replica.client.put(replica.at("/images/cat-1")).body(photo),
    ] {
        let hung_up = request.timeout(Duration::from_millis(700)).send().await;
        assert!(hung_up.unwrap_err().is_timeout());
    }
    nodes.for_each(|node| signal(cluster.nats.process(node), "-CONT"));
    server::eventually("the image is gone everywhere", async || {
        for replica in &cluster.replicas {
            let (status, _) = replica.ask(Method::GET, "/images/cat-0").await;
            if status != 404 {
                return None;
            }
        }
        Some(())
    })
    .await;
    // The replacement may still be queued. The deleted original is removed within a minute.
    server::eventually("two images have an original each", async || {
        (server::original_files(&originals).len() == 2).then_some(())
    })
    .await;
}
