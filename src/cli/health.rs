//! `scihcgrl health`: whether a service takes requests, as an exit status, for those who can ask nothing else.
//! Knows one route.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;

use crate::cli::client::Client;

/// How long a service may take to say so.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(client: Client) -> anyhow::Result<()> {
    let request = client.request(Method::GET, "/readyz").timeout(PATIENCE);
    let answer = request.send().await.context("no answer")?;
    let status = answer.status();
    ensure!(status.is_success(), "not ready: {status}");
    println!("ready");
    Ok(())
}
