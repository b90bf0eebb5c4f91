//! Follows a job: reads its stream of events and shows them until the job has ended.

use std::{io::IsTerminal, time::Duration};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::Value;
use tokio::time::sleep;

use crate::cli::jobs::{Client, get, text};

/// The pause after a stream without events.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Follows a job and returns its result. Reconnects if the stream ends, and waits while the service
/// restarts.
///
/// # Errors
/// If the job failed or was cancelled, or the service does not answer.
pub async fn follow(client: &Client, id: &str) -> anyhow::Result<Value> {
    let (mut last_id, mut display) = (String::from("0"), Display::default());
    loop {
        let path = format!("/admin/jobs/{id}");
        let job = get(client, &path).await?;
        let request = client.request(Method::GET, &format!("{path}/events"));
        let events = request.header("last-event-id", &last_id).send().await;
        let mut events = events.context("the service no longer answers")?;
        let (mut read, mut has_events) = (Vec::new(), false);
        // A busy or stopping service refuses the stream. The request above reports any other error.
        if events.status().is_success() {
            while let Ok(Some(chunk)) = events.chunk().await {
                read.extend_from_slice(&chunk);
                while let Some(event) = next_event(&mut read) {
                    display.show(&event, &mut last_id);
                    has_events = true;
                }
            }
        }
        match text(&job["state"]) {
            "succeeded" => return Ok(job["result"].clone()),
            "failed" => bail!("the job failed: {}", text(&job["error"])),
            "cancelled" => bail!("the job was cancelled"),
            _ if has_events => {}
            _ => sleep(RETRY_DELAY).await,
        }
    }
}

/// Removes the first complete event from the bytes read. Chunks may end anywhere, even inside a
/// character.
fn next_event(read: &mut Vec<u8>) -> Option<String> {
    let end = read.windows(2).position(|two| two == b"\n\n")?;
    let event = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end + 2);
    Some(event)
}

/// Shows events with a progress bar on a terminal, or as one line each.
#[derive(Default)]
struct Display {
    bar: Option<(String, ProgressBar)>,
}

impl Display {
    fn show(&mut self, event: &str, last_id: &mut String) {
        let field = |name: &str| {
            let value = event.lines().find_map(|line| line.strip_prefix(name));
            value.map(str::trim)
        };
        if let Some(id) = field("id:") {
            *last_id = id.to_owned();
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
    fn events_are_complete_wherever_chunks_end() {
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
