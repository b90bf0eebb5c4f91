//! Stores a photo in a running service and searches by it: start `scihcgrl serve`, then
//! `cargo run --release --example call_service -- photo.jpg`.

use std::{env, fs};

use anyhow::Context;
use reqwest::blocking::Client;
use serde_json::Value;

fn main() -> anyhow::Result<()> {
    scihcgrl::system::tls::install();
    let photo = env::args().nth(1).context("give the path of a photo")?;
    let address = env::var("SCIHCGRL_URL").unwrap_or("http://127.0.0.1:8080".to_owned());
    let (client, bytes) = (Client::new(), fs::read(photo)?);
    let post = |path: &str| {
        let mut request = client.post(format!("{address}{path}")).body(bytes.clone());
        if let Ok(key) = env::var("SCIHCGRL_KEY") {
            request = request.bearer_auth(key);
        }
        let response = request.send()?;
        let body: Value = response.json()?;
        match body["detail"].as_str() {
            // Every error says what was wrong and what would be right.
            Some(detail) => anyhow::bail!("{detail}"),
            None => Ok(body),
        }
    };
    let stored = post("/images?label=example")?;
    println!("stored as {}", stored["id"]);
    let found = post("/search?limit=5")?;
    for found in found["matches"].as_array().into_iter().flatten() {
        println!("{} at distance {}", found["id"], found["distance"]);
    }
    Ok(())
}
