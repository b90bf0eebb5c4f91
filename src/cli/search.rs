//! `scihcgrl search`: searches a running service for each file and prints the matches.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use crate::{
    cli::{
        client::Client,
        folder::{self, LeftOut},
    },
    code::Length,
    train::data::tree::{self, File},
};

/// The options of `scihcgrl search`.
#[derive(Args, Clone)]
#[group(skip)]
pub struct Search {
    /// Image files, or folders of them.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The code length: 24, 32 or 48.
    #[arg(long, default_value = "48")]
    bits: Length,
    /// Maximum distance of a match, 0 to the length. By default, the nearest images at any distance
    /// match.
    #[arg(long)]
    radius: Option<u32>,
    /// Search with a part of each picture: x and y of its top-left corner, width and height, as
    /// fractions of the picture.
    #[arg(
        long = "box",
        value_name = "X,Y,WIDTH,HEIGHT",
        allow_hyphen_values = true
    )]
    part: Option<String>,
    /// Search only the images that pass this filter, such as `price < 5 AND labels = "shoe"`.
    #[arg(long)]
    filter: Option<String>,
    /// Maximum number of matches to show for each image, 1 to 1000.
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// Show each image's class, and count the matches with that label. The class is the first
    /// folder below the one given, or else the folder of the image.
    #[arg(long)]
    labelled: bool,
    /// Print each answer as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Totals over all answers.
#[derive(Default)]
struct Totals {
    queries: usize,
    matches: usize,
    same_class: usize,
    without_match: usize,
}

pub(crate) async fn run(client: Client, search: &Search) -> anyhow::Result<()> {
    let (mut totals, mut left_out) = (Totals::default(), LeftOut::default());
    for path in &search.images {
        let tree = folder::files(path)?;
        left_out.add_unreadable(&tree);
        for file in tree.files {
            let answer = match query(&client, search, &file.path).await? {
                Ok(answer) => answer,
                Err(reason) => {
                    left_out.add(&file.path, reason);
                    continue;
                }
            };
            if search.json {
                println!("{answer}");
            } else {
                show(search, &file, &answer, &mut totals);
            }
        }
    }
    if search.labelled && !search.json {
        println!(
            "{} of {} matches shown have the class of their query ({:.1}%); {} of {} queries have no match",
            totals.same_class,
            totals.matches,
            100.0 * totals.same_class as f64 / totals.matches.max(1) as f64,
            totals.without_match,
            totals.queries,
        );
    }
    left_out.into_result()
}

/// Searches with a file. Returns the answer, or the reason why the file has none.
async fn query(
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
        .query(&search.filter.as_ref().map(|filter| [("filter", filter)]))
        .query(&[("limit", search.limit)])
        .body(bytes);
    client.send(request).await
}

fn show(search: &Search, file: &File, answer: &Value, totals: &mut Totals) {
    // For a file directly in the given folder, or given itself, the class is its folder.
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
            None => "images, ordered by distance to".to_owned(),
        },
        text(&answer["query"]["code"]),
        answer["timing_ms"]["total"].as_f64().unwrap_or_default(),
    );
    let none = Vec::new();
    let matches = answer["matches"].as_array().unwrap_or(&none);
    let has_relations = matches.iter().any(|near| near["relation"].is_string());
    for near in matches {
        let labels: Vec<&str> = near["labels"]
            .as_array()
            .unwrap_or(&none)
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let same_class = class.is_some_and(|class| labels.contains(&class));
        totals.same_class += usize::from(same_class);
        let similarity = near["similarity"].as_f64();
        let relation = near["relation"].as_str().unwrap_or_default();
        println!(
            "  {:>2}  {}{}{}{}  {}",
            near["distance"].as_u64().unwrap_or_default(),
            similarity.map_or(String::new(), |value| format!("{value:.3}  ")),
            // The column appears if any match has a relation.
            if has_relations {
                format!("{relation:<4}  ")
            } else {
                String::new()
            },
            labels.join(", "),
            if class.is_some() && !same_class {
                " (another class)"
            } else {
                ""
            },
            text(&near["id"]),
        );
    }
    totals.queries += 1;
    totals.matches += matches.len();
    totals.without_match += usize::from(matches.is_empty());
}
