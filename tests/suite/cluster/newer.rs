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

/// How a write with sketches begins, and how one of a later form does.
const OURS: &[u8] = br#"{"format":2,"#;
const LATER: &[u8] = br#"{"format":9,"#;

/// The addresses of ways to servers on which each write with sketches becomes one of a later form.
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
        let why = "is not understood: it is of format 9, and this program reads 1 and 2; a newer program wrote it";
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
