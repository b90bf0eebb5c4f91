//! Programs of two versions on one log. The older one stops at a write that it cannot read, and
//! continues after an upgrade. Both are this program; a proxy gives the newer one's writes a later
//! format number.

use std::fs;

use reqwest::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
};

use super::{
    harness::cluster::Cluster,
    server::{self, TestServer, samples},
};

/// The first bytes of a write in this format and in a later one.
const OURS: &[u8] = b"scihcgrl 1 ";
const LATER: &[u8] = b"scihcgrl 9 ";

/// Starts proxies to these NATS servers that turn each write into one of a later format; returns
/// their URLs.
async fn renumbering(servers: &[u16]) -> String {
    let mut urls = Vec::new();
    for &server in servers {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        urls.push(format!("nats://127.0.0.1:{port}"));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                let (mut client_side, answers) = client.into_split();
                let (downstream, mut to) = server.into_split();
                tokio::spawn(async move { copy(&mut client_side, &mut to).await });
                tokio::spawn(renumber(downstream, answers));
            }
        });
    }
    urls.join(",")
}

async fn renumber(mut from: impl AsyncRead + Unpin, mut to: OwnedWriteHalf) {
    let (mut held, mut read) = (Vec::new(), [0; 16 << 10]);
    while let Ok(count @ 1..) = from.read(&mut read).await {
        held.extend_from_slice(&read[..count]);
        let begins: Vec<usize> = (0..held.len())
            .filter(|&at| held[at..].starts_with(OURS))
            .collect();
        for at in begins {
            held[at..at + LATER.len()].copy_from_slice(LATER);
        }
        // The last bytes may be the beginning of a write.
        let whole = (0..held.len())
            .find(|&at| OURS.starts_with(&held[at..]))
            .unwrap_or(held.len());
        if to.write_all(&held[..whole]).await.is_err() {
            return;
        }
        held.drain(..whole);
    }
}

/// Returns true if a replica has an image.
async fn has_image(replica: &TestServer, id: &str) -> bool {
    let (status, _) = replica.ask(Method::GET, &format!("/images/{id}")).await;
    assert!([200, 404].contains(&status.as_u16()), "{status}");
    status == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_stops_at_a_write_of_a_newer_one_and_continues_after_an_upgrade() {
    let mut cluster = Cluster::empty();
    cluster.replicas = vec![
        cluster.one_more("serve", &[]),
        cluster.one_more("serve", &[]),
    ];
    cluster.replicas[0].store(&["cat"], 3).await;
    let position = cluster.settle().await;
    let older = renumbering(&cluster.nats.ports()).await;
    let mut folder = cluster.kill(1);
    let photo = fs::read(&samples("cat")[0]).unwrap();
    // It stops at the same write after every start.
    for start in 0..2 {
        let replica = cluster.begin("serve", &older, folder, &[]);
        if start == 0 {
            let newer = &cluster.replicas[0];
            newer.store(&["ship"], 2).await;
            newer.ask(Method::DELETE, "/images/cat-1").await;
        }
        server::eventually("the older replica stops", async || {
            (replica.ask(Method::GET, "/livez").await.0 == 503).then_some(())
        })
        .await;
        assert_eq!(replica.ask(Method::GET, "/readyz").await.0, 503);
        // Neither that write nor a later one is applied.
        let (_, digest) = replica.ask(Method::GET, "/admin/digest").await;
        assert_eq!(digest["position"], position, "{digest}");
        assert!(!has_image(&replica, "ship-0").await && has_image(&replica, "cat-1").await);
        let search = replica.client.post(replica.at("/search?limit=1"));
        let found: Value = search
            .body(photo.clone())
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(found["matches"][0]["id"], "cat-0", "{found}");
        let put = replica.client.put(replica.at("/images/lost"));
        let refused = put.body(photo.clone()).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        assert_eq!(cluster.replicas[0].ask(Method::GET, "/readyz").await.0, 200);
        folder = replica.kill();
        let log = fs::read_to_string(folder.path().join("server.log")).unwrap();
        let why = "is not understood: it is of format 9, and this program reads 1; a newer program wrote it";
        assert!(log.matches(why).count() > start, "{log}");
    }
    let urls = cluster.nats.urls();
    let upgraded = cluster.begin("serve", &urls, folder, &[]);
    cluster.replicas.push(upgraded);
    cluster.settle().await;
    let upgraded = &cluster.replicas[1];
    assert_eq!(upgraded.ask(Method::GET, "/livez").await.0, 200);
    assert!(has_image(upgraded, "ship-0").await && !has_image(upgraded, "cat-1").await);
    assert!(!has_image(upgraded, "lost").await);
}

/// Anyone who may publish to the log can publish such messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_message_is_skipped_by_all_replicas() {
    let mut cluster = Cluster::empty();
    let first = cluster.one_more("serve", &[]);
    let second = cluster.one_more("serve", &[]);
    cluster.replicas = vec![first, second];
    cluster.replicas[0].store(&["cat"], 2).await;
    let urls = cluster.nats.urls();
    let client = async_nats::connect(urls.split(',').collect::<Vec<_>>());
    let log = async_nats::jetstream::new(client.await.unwrap());
    let broken: [&'static [u8]; 3] = [
        b"{\"format\":9,\"write\":\"discard\"}",
        b"scihcgrl 1 00000000\n\"discard\"",
        b"\xff\x00",
    ];
    for message in broken {
        let sent = log.publish("scihcgrl.gallery.log", message.into()).await;
        sent.unwrap().await.unwrap();
    }
    cluster.replicas[1].store(&["ship"], 2).await;
    cluster.settle().await;
    // A replica that starts later skips them as well.
    let third = cluster.one_more("serve", &[]);
    cluster.replicas.push(third);
    cluster.settle().await;
    for replica in &cluster.replicas {
        assert_eq!(
            replica.metric("scihcgrl_log_unreadable_total").await,
            Some(3.0)
        );
        assert!(has_image(replica, "cat-1").await && has_image(replica, "ship-1").await);
        let ready = replica.client.get(replica.at("/readyz")).send().await;
        let ready = ready.unwrap();
        assert_eq!(ready.status(), 200);
        let body = ready.text().await.unwrap();
        assert!(body.starts_with("degraded: a message of the log"), "{body}");
        assert_eq!(replica.log().matches("no program can read it").count(), 3);
    }
    // After a restart they are not logged again, but still counted.
    let folder = cluster.replicas.pop().unwrap().kill();
    let again = cluster.begin("serve", &urls, folder, &[]);
    assert_eq!(
        again.metric("scihcgrl_log_unreadable_total").await,
        Some(3.0)
    );
    cluster.replicas.push(again);
    cluster.replicas[0].store(&["dog"], 1).await;
    cluster.settle().await;
}
