//! `scihcgrl index`: stores every image of a folder in a running service, with an id made of its
//! path and its class as label.

use std::{collections::HashSet, io::IsTerminal, path::Path};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::{
    cli::{client::Client, folder},
    index::nfc,
    train::data::tree::{self, File},
};

/// Number of files between two log lines.
const LOG_INTERVAL: u64 = 1000;

pub(crate) async fn run(
    client: Client,
    path: &Path,
    at_once: usize,
    skip_stored: bool,
) -> anyhow::Result<()> {
    let tree = folder::files(path)?;
    let (mut files, unread) = (tree.files, tree.unreadable.len());
    let all = files.len();
    if skip_stored {
        let stored = stored_ids(&client).await?;
        files.retain(|file| !stored.contains(&id(&file.relative)));
    }
    let left_out = all - files.len();
    // Matches at one distance come oldest first. If folders were sent one after the other, the
    // stray matches of one class would always come before those of the others.
    files.sort_by_cached_key(|file| Sha256::digest(file.relative.as_os_str().as_encoded_bytes()));
    let bar = ProgressBar::new(files.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec} {eta} left") {
        bar.set_style(style);
    }
    let (mut running, mut refused, mut replaced) = (JoinSet::new(), 0, 0);
    let mut files = files.into_iter();
    loop {
        while running.len() < at_once.max(1)
            && let Some(file) = files.next()
        {
            let client = client.clone();
            running.spawn(async move { (file.path.clone(), put(&client, &file).await) });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        let (path, outcome) = done?;
        match outcome? {
            Ok(is_new) => replaced += u64::from(!is_new),
            Err(reason) => {
                refused += 1;
                bar.suspend(|| tracing::warn!(path = %path.display(), reason, "not stored"));
            }
        }
        bar.inc(1);
        if bar.position().is_multiple_of(LOG_INTERVAL) && !std::io::stderr().is_terminal() {
            tracing::info!("{} of {}", bar.position(), bar.length().unwrap_or(0));
        }
    }
    let sent = bar.position();
    bar.finish_and_clear();
    println!(
        "stored {} images; {left_out} were stored already, {replaced} replaced images with their ids, {refused} were refused, \
         {unread} could not be read",
        sent - refused
    );
    ensure!(refused == 0, "{refused} of {sent} files were not stored");
    ensure!(unread == 0, "{unread} files or folders could not be read");
    Ok(())
}

/// Stores a file. Returns true if no image had its id, or the detail of a refusal.
async fn put(client: &Client, file: &File) -> anyhow::Result<Result<bool, String>> {
    let bytes = match tokio::fs::read(&file.path).await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let id = id(&file.relative);
    let path = format!("/images/{}", utf8_percent_encode(&id, NON_ALPHANUMERIC));
    let mut request = client.request(Method::PUT, &path).body(bytes);
    if let Some(class) = tree::class(&file.relative) {
        request = request.query(&[("label", class)]);
    }
    let stored = client.send(request).await?;
    Ok(stored.map(|image| image["created_at_ms"] == image["updated_at_ms"]))
}

/// Returns the ids of all images of the service.
async fn stored_ids(client: &Client) -> anyhow::Result<HashSet<String>> {
    let mut ids = HashSet::new();
    let mut after: Option<String> = None;
    loop {
        let mut request = client
            .request(Method::GET, "/images")
            .query(&[("limit", "1000")]);
        if let Some(after) = &after {
            request = request.query(&[("after", after)]);
        }
        let page = client.send(request).await?.map_err(anyhow::Error::msg)?;
        let images = page["images"]
            .as_array()
            .context("the answer has no list of images")?;
        ids.extend(
            images
                .iter()
                .filter_map(|image| Some(image["id"].as_str()?.to_owned())),
        );
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(ids);
        }
    }
}

/// Makes an id that no other path has. `/` becomes `:`. Bytes of `:`, `~` and characters that an id
/// may not have become `~` and two hexadecimal digits. Paths that differ only in Unicode
/// normalisation share one id.
fn id(path: &Path) -> String {
    let mut id = String::new();
    let escape = |id: &mut String, bytes: &[u8]| {
        bytes
            .iter()
            .for_each(|byte| id.push_str(&format!("~{byte:02x}")));
    };
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        for letter in nfc(chunk.valid()).chars() {
            match letter {
                '/' => id.push(':'),
                ':' | '~' => escape(&mut id, &[letter as u8]),
                _ if letter.is_control() => {
                    escape(&mut id, letter.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => id.push(letter),
            }
        }
        escape(&mut id, chunk.invalid());
    }
    id
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;
    use crate::index::ImageId;

    #[test]
    fn different_paths_have_different_ids() {
        let paths = [
            "cat/1.jpg",
            "cat:1.jpg",
            "cat~3a1.jpg",
            "my cat e\u{301}.png",
            "a\nb",
            "猫/写真.jpg",
        ];
        let mut ids: Vec<String> = paths.iter().map(|path| id(Path::new(path))).collect();
        ids.push(id(Path::new(OsStr::from_bytes(b"a\xff/b"))));
        let expected = [
            "cat:1.jpg",
            "cat~3a1.jpg",
            "cat~7e3a1.jpg",
            "my cat \u{e9}.png",
            "a~0ab",
            "猫:写真.jpg",
            "a~ff:b",
        ];
        assert_eq!(ids, expected);
        assert!(ids.iter().all(|id| id.parse::<ImageId>().is_ok()));
    }
}
