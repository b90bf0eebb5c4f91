//! Two programs on one log, the older of which cannot read what the newer writes. It stops there, and goes on after an upgrade.
//! Both are this program. What the newer one writes gets the number of a later form on its way to the older one.

use std::fs;

use reqwest::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
};

use super::{
    replicas::Cluster,
    server::{self, TestServer, samples},
};

/// How a write begins, and how one of a later form does.
const OURS: &[u8] = b"scihcgrl 1 ";
const LATER: &[u8] = b"scihcgrl 9 ";

/// The addresses of ways to servers on which each write becomes one of a later form.
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
                let (mut asked, answers) = client.into_split();
                let (told, mut to) = server.into_split();
                tokio::spawn(async move { copy(&mut asked, &mut to).await });
                tokio::spawn(renumber(told, answers));
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
        // The beginning of one may have come, and not its end.
        let whole = (0..held.len())
            .find(|&at| OURS.starts_with(&held[at..]))
            .unwrap_or(held.len());
        if to.write_all(&held[..whole]).await.is_err() {
            return;
        }
        held.drain(..whole);
    }
}

/// Whether an image is there.
async fn has(replica: &TestServer, id: &str) -> bool {
    let (status, _) = replica.ask(Method::GET, &format!("/images/{id}")).await;
    assert!([200, 404].contains(&status.as_u16()), "{status}");
    status == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_stops_at_what_a_newer_one_wrote_and_goes_on_once_it_is_upgraded() {
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
    // It stops there again however often it is started.
    for start in 0..2 {
        let replica = cluster.begin("serve", &older, folder, &[]);
        if start == 0 {
            let newer = &cluster.replicas[0];
            newer.store(&["ship"], 2).await;
            newer.ask(Method::DELETE, "/images/cat-1").await;
        }
        server::eventually("it stops", async || {
            (replica.ask(Method::GET, "/livez").await.0 == 503).then_some(())
        })
        .await;
        assert_eq!(replica.ask(Method::GET, "/readyz").await.0, 503);
        // Nothing of that write is applied, nor what came after it.
        let (_, digest) = replica.ask(Method::GET, "/admin/digest").await;
        assert_eq!(digest["position"], position, "{digest}");
        assert!(!has(&replica, "ship-0").await && has(&replica, "cat-1").await);
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
    assert!(has(upgraded, "ship-0").await && !has(upgraded, "cat-1").await);
    assert!(!has(upgraded, "lost").await);
}

/// What anybody may publish who may publish to the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_no_program_can_read_is_passed_over_by_all() {
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
    // One that comes later passes over the same.
    let third = cluster.one_more("serve", &[]);
    cluster.replicas.push(third);
    cluster.settle().await;
    for replica in &cluster.replicas {
        assert_eq!(
            replica.metric("scihcgrl_log_unreadable_total").await,
            Some(3.0)
        );
        assert!(has(replica, "cat-1").await && has(replica, "ship-1").await);
        let ready = replica.client.get(replica.at("/readyz")).send().await;
        let ready = ready.unwrap();
        assert_eq!(ready.status(), 200);
        let said = ready.text().await.unwrap();
        assert!(said.starts_with("degraded: a message of the log"), "{said}");
        assert_eq!(replica.log().matches("no program can read it").count(), 3);
    }
    // It is told of once more by nobody, and still counted.
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
