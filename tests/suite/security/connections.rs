//! Silent callers that hold every connection.

use reqwest::{Client, Method};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::server::{self, TestServer};

const MAX_CONNECTIONS: usize = 8;
/// Connections beyond the limit that probes may use.
const PROBE_CONNECTIONS: usize = 64;

#[tokio::test]
async fn probes_over_http_2_that_stay_connected_do_not_block_other_probes() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--connections", "1"]);
    let address = server.url.trim_start_matches("http://");
    let _held = TcpStream::connect(address).await.unwrap();
    let mut probes = Vec::new();
    for _ in 0..PROBE_CONNECTIONS {
        let client = server::client().http2_prior_knowledge().build().unwrap();
        let answer = client.get(server.at("/livez")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        probes.push(client);
    }
    let ask = async || server.client.get(server.at("/livez")).send().await;
    assert!(ask().await.is_err());
    server::eventually("a probe gets a connection", async || ask().await.ok()).await;
}

#[tokio::test]
async fn probes_are_answered_although_every_connection_is_held() {
    let folder = tempfile::tempdir().unwrap();
    server::model(folder.path());
    let server = TestServer::start_in(folder, &["--connections", &MAX_CONNECTIONS.to_string()]);
    let address = server.url.trim_start_matches("http://");
    let silent = async |count: usize| {
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        held
    };
    // A new client for each request, so that no connection is kept.
    let ask = async |path: &str| {
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        client.request(Method::GET, server.at(path)).send().await
    };
    let held = silent(MAX_CONNECTIONS).await;
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
    let mut more = silent(PROBE_CONNECTIONS).await;
    // A probe's connection is free a moment after its response, so a few of these may have been
    // refused.
    server::eventually("every connection is held", async || {
        more.extend(silent(1).await);
        ask("/livez").await.is_err().then_some(())
    })
    .await;
    assert!(
        more.len() <= PROBE_CONNECTIONS + 8,
        "{} were held",
        more.len()
    );
    // It is closed at once.
    let mut past = TcpStream::connect(address).await.unwrap();
    assert_eq!(past.read(&mut [0]).await.unwrap_or(0), 0);
    drop((held, more));
    server::eventually("connections are free again", async || {
        let answer = ask("/images").await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
}
