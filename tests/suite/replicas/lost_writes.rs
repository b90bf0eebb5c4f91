//! A log that lost acknowledged writes, as servers that sync late do if they lose power: replicas
//! that have those writes notice.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream};
use reqwest::Method;
use serde_json::json;

use super::{harness::cluster::Cluster, server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_stops_if_the_log_has_other_writes() {
    let mut cluster = Cluster::start().await;
    cluster.replicas[0].store(&["cat"], 5).await;
    let position = cluster.settle().await;
    let folder = cluster.kill(2);
    let urls = cluster.nats.urls();
    let client = async_nats::connect(urls.split(',').collect::<Vec<_>>());
    let context = jetstream::new(client.await.unwrap());
    let mut stream = context.get_stream("scihcgrl_gallery").await.unwrap();
    let config = stream.info().await.unwrap().config.clone();
    context.delete_stream("scihcgrl_gallery").await.unwrap();
    context.create_stream(config).await.unwrap();
    for _ in 0..position + 3 {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, uuid::Uuid::new_v4().to_string().as_str());
        let write = json!({ "delete": { "id": "nobody" } }).to_string();
        let checksum = crc32fast::hash(write.as_bytes());
        let message = format!("scihcgrl 1 {checksum:08x}\n{write}");
        let sent = context.publish_with_headers("scihcgrl.gallery.log", headers, message.into());
        sent.await.unwrap().await.unwrap();
    }
    cluster.restart(2, folder);
    for replica in &cluster.replicas {
        server::eventually("the replica stops", async || {
            (replica.ask(Method::GET, "/livez").await.0 == 503).then_some(())
        })
        .await;
        let (_, problem) = replica.ask(Method::GET, "/livez").await;
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("no longer follows the replication log"),
            "{detail}"
        );
        // It still serves reads.
        assert_eq!(replica.ask(Method::GET, "/images/cat-4").await.0, 200);
    }
}
