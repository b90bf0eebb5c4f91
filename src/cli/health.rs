//! `scihcgrl health`: reports as an exit status whether a service is ready, for probes that can
//! only run a command.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;

use crate::cli::client::Client;

const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn run(client: Client) -> anyhow::Result<()> {
    let request = client.request(Method::GET, "/readyz").timeout(TIMEOUT);
    let answer = request.send().await.context("no answer")?;
    let status = answer.status();
    ensure!(status.is_success(), "not ready: {status}");
    println!("ready");
    Ok(())
}
