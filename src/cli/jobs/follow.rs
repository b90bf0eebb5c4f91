//! A job that is followed: its events as they come, until it is over.
//! Knows streams of events and how progress reads; not what a job does.

use std::{io::IsTerminal, time::Duration};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;

use crate::cli::jobs::{Client, get, text};

/// How long to wait for a service that has nothing to tell.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows a job, over a service that is started again too, and tells what came of it; fails where it does.
pub async fn follow(client: &Client, id: &str) -> anyhow::Result<Value> {
    let (mut last, mut show) = (String::from("0"), Show::default());
    loop {
        let path = format!("/admin/jobs/{id}");
        let job = get(client, &path).await?;
        let request = client.request(Method::GET, &format!("{path}/events"));
        let events = request.header("last-event-id", &last).send().await;
        let mut events = events.context("the service does not answer any more")?;
        let (mut read, mut told) = (Vec::new(), false);
        // Busy or stopping it has no events; what else is wrong is told by the request above.
        if events.status().is_success() {
            while let Ok(Some(chunk)) = events.chunk().await {
                read.extend_from_slice(&chunk);
                while let Some(event) = next_event(&mut read) {
                    show.event(&event, &mut last);
                    told = true;
                }
            }
        }
        match text(&job["state"]) {
            "succeeded" => return Ok(job["result"].clone()),
            "failed" => bail!("the job failed: {}", text(&job["error"])),
            "cancelled" => bail!("the job was cancelled"),
            _ if told => {}
            _ => sleep(AGAIN).await,
        }
    }
}

/// Takes the first whole event from what was read of a stream, which may be cut anywhere, also within a character.
fn next_event(read: &mut Vec<u8>) -> Option<String> {
    let end = read.windows(2).position(|two| two == b"\n\n")?;
    let event = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end + 2);
    Some(event)
}

/// A progress bar on a terminal, a line for each thing told elsewhere.
#[derive(Default)]
struct Show {
    bar: Option<(String, ProgressBar)>,
}

impl Show {
    fn event(&mut self, event: &str, last: &mut String) {
        let field = |name: &str| {
            let value = event.lines().find_map(|line| line.strip_prefix(name));
            value.map(str::trim)
        };
        if let Some(id) = field("id:") {
            *last = id.to_owned();
        }
        let data: Value = field("data:")
            .and_then(|data| serde_json::from_str(data).ok())
            .unwrap_or_default();
        if field("event:") != Some("progress") {
            if let Some(state) = field("event:") {
                eprintln!("{state}");
            }
            return;
        }
        let stage = text(&data["stage"]);
        let number = |name: &str| data[name].as_u64().unwrap_or_default();
        let mut words = stage.to_owned();
        if number("epochs") > 0 {
            words += &format!(" {}/{}", number("epoch"), number("epochs"));
        }
        for name in ["loss", "reward", "images_per_second", "map"] {
            if !data[name].is_null() {
                words += &format!("  {name} {}", data[name]);
            }
        }
        if !std::io::stderr().is_terminal() {
            eprintln!("{words}  step {}/{}", number("step"), number("steps"));
            return;
        }
        if self.bar.as_ref().is_none_or(|(of, _)| of != stage) {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left  {msg}");
            let bar = ProgressBar::new(number("steps"));
            let bar = style.map_or(bar.clone(), |style| bar.with_style(style));
            self.bar = Some((stage.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(number("step"));
            bar.set_message(words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_a_stream_is_cut() {
        let sent = "id: 1\ndata: {\"label\": \"Größe 東京\"}\n\nid: 2\n\nid: 3";
        let (mut read, mut events) = (Vec::new(), Vec::new());
        for byte in sent.bytes() {
            read.push(byte);
            events.extend(next_event(&mut read));
        }
        let expected = ["id: 1\ndata: {\"label\": \"Größe 東京\"}", "id: 2"];
        assert_eq!(events, expected);
        assert_eq!(read, b"id: 3");
    }
}
