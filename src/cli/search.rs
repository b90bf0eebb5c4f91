//! `scihcgrl search`: asks a running service for the images near each file, and prints the answers.
//! Knows how answers read; what near means is the service's.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use crate::{
    cli::{
        client::Client,
        folder::{self, Failed},
    },
    code::Length,
    train::data::tree::{self, File},
};

/// What is looked for, and how answers are shown.
#[derive(Args, Clone)]
pub struct Search {
    /// Image files, or folders of them.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The code length: 24, 32 or 48.
    #[arg(long, default_value = "48")]
    bits: Length,
    /// The most bits that a match may differ in, 0 to the length; without it the nearest images are found, however far they are.
    #[arg(long)]
    radius: Option<u32>,
    /// The part of each picture that is searched with: x and y of its top-left corner, width and height, in shares of 1.
    #[arg(
        long = "box",
        value_name = "X,Y,WIDTH,HEIGHT",
        allow_hyphen_values = true
    )]
    part: Option<String>,
    /// The most matches shown for each, 1 to 1000.
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// The folder directly below the one given that an image lies in names its class, or else the folder of the image: show it, and count the
    /// matches that have it as a label.
    #[arg(long)]
    labelled: bool,
    /// Print each answer as one line of JSON instead.
    #[arg(long)]
    json: bool,
}

/// Matches counted over all answers.
#[derive(Default)]
struct Count {
    images: usize,
    shown: usize,
    right: usize,
    empty: usize,
}

pub(crate) async fn run(client: Client, search: &Search) -> anyhow::Result<()> {
    let (mut count, mut failed) = (Count::default(), Failed::default());
    for path in &search.images {
        let tree = folder::files(path)?;
        failed.note_unreadable(&tree);
        for file in tree.files {
            let answer = match ask(&client, search, &file.path).await? {
                Ok(answer) => answer,
                Err(reason) => {
                    failed.note(&file.path, reason);
                    continue;
                }
            };
            if search.json {
                println!("{answer}");
            } else {
                show(search, &file, &answer, &mut count);
            }
        }
    }
    if search.labelled && !search.json {
        println!(
            "{} of {} matches shown have the class of their query ({:.1}%); {} of {} queries have no match",
            count.right,
            count.shown,
            100.0 * count.right as f64 / count.shown.max(1) as f64,
            count.empty,
            count.images,
        );
    }
    failed.none()
}

/// The answer, or why a file has none.
async fn ask(
    client: &Client,
    search: &Search,
    path: &Path,
) -> anyhow::Result<Result<Value, String>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let request = client
        .request(Method::POST, "/search")
        .query(&[("bits", search.bits.to_string())])
        .query(&search.radius.map(|radius| [("radius", radius)]))
        .query(&search.part.as_ref().map(|part| [("box", part)]))
        .query(&[("limit", search.limit)])
        .body(bytes);
    client.send(request).await
}

fn show(search: &Search, file: &File, answer: &Value, count: &mut Count) {
    // A file that was named itself, or lies in the folder that was, is of the class of its folder.
    let folder = || Some(file.path.parent()?.file_name()?.to_string_lossy().into());
    let class = tree::class(&file.relative).or_else(folder);
    let class = class.as_deref().filter(|_| search.labelled);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!(
        "{}{}: {} {} {} ({:.1} ms)",
        class.map(|class| format!("{class}, ")).unwrap_or_default(),
        file.path.display(),
        answer["total"],
        match search.radius {
            Some(radius) => format!("within radius {radius} of"),
            None => "images, the nearest to".to_owned(),
        },
        text(&answer["query"]["code"]),
        answer["timing_ms"]["total"].as_f64().unwrap_or_default(),
    );
    let none = Vec::new();
    let matches = answer["matches"].as_array().unwrap_or(&none);
    let related = matches.iter().any(|near| near["relation"].is_string());
    for near in matches {
        let labels: Vec<&str> = near["labels"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let right = class.is_some_and(|class| labels.contains(&class));
        count.right += usize::from(right);
        let similarity = near["similarity"].as_f64();
        let relation = near["relation"].as_str().unwrap_or_default();
        println!(
            "  {:>2}  {}{}{}{}  {}",
            near["distance"].as_u64().unwrap_or_default(),
            similarity.map_or(String::new(), |alike| format!("{alike:.3}  ")),
            // One column for all, in an answer that has any.
            match related {
                true => format!("{relation:<4}  "),
                false => String::new(),
            },
            labels.join(", "),
            if class.is_some() && !right {
                " (another class)"
            } else {
                ""
            },
            text(&near["id"]),
        );
    }
    count.images += 1;
    count.shown += matches.len();
    count.empty += usize::from(matches.is_empty());
}
