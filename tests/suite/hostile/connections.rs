//! Callers that hold every connection there may be and say nothing. Knows how many there may be; not how they are counted.

use reqwest::{Client, Method};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::server::{self, TestServer};

const MOST: usize = 8;
/// Past the most, for probes.
const FOR_PROBES: usize = 64;

#[tokio::test]
async fn probes_over_http_2_that_keep_their_connections_do_not_keep_others_from_being_answered() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--connections", "1"]);
    let address = server.url.trim_start_matches("http://");
    let _held = TcpStream::connect(address).await.unwrap();
    let mut probes = Vec::new();
    for _ in 0..FOR_PROBES {
        let client = server::client().http2_prior_knowledge().build().unwrap();
        let answer = client.get(server.at("/livez")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        probes.push(client);
    }
    let ask = async || server.client.get(server.at("/livez")).send().await;
    assert!(ask().await.is_err());
    server::eventually("a probe has a place", async || ask().await.ok()).await;
}

#[tokio::test]
async fn whoever_holds_every_connection_does_not_keep_probes_from_being_answered() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--connections", &MOST.to_string()]);
    let address = server.url.trim_start_matches("http://");
    let silent = async |count: usize| {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        held
    };
    // A client of its own for each request, which keeps no connection.
    let ask = async |path: &str| {
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        client.request(Method::GET, server.at(path)).send().await
    };
    let held = silent(MOST).await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/images", 503),
        ("/", 503),
    ] {
        let answer = ask(path).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["connection"], "close", "{path}");
    }
    let mut more = silent(FOR_PROBES).await;
    // A probe's place is free a moment after its answer, so that a few of
    // these may have been turned away.
    server::eventually("every place is held", async || {
        more.extend(silent(1).await);
        ask("/livez").await.is_err().then_some(())
    })
    .await;
    assert!(more.len() <= FOR_PROBES + 8, "{} were held", more.len());
    // It is closed at once, and not left to wait.
    let mut past = TcpStream::connect(address).await.unwrap();
    assert_eq!(past.read(&mut [0]).await.unwrap_or(0), 0);
    drop((held, more));
    server::eventually("there are places again", async || {
        let answer = ask("/images").await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
}
