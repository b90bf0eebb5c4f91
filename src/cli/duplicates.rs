//! `scihcgrl duplicates`: prints the groups of copies in a running service, after a job has found
//! them if necessary.

use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::{client::Client, jobs};

/// Number of groups per request.
const PAGE_SIZE: usize = 100;

/// The options of `scihcgrl duplicates`.
#[derive(Args, Clone)]
#[group(skip)]
pub struct Duplicates {
    /// When to run a job that finds the groups first. `stale`: if there are none yet or the gallery
    /// has changed since.
    #[arg(long, value_enum, default_value = "stale")]
    find: Find,
    /// Form groups among the images that pass this filter, such as 'brand = "x"'.
    #[arg(long)]
    filter: Option<String>,
    /// Maximum number of groups to print, largest first.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Print each group as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Find {
    Stale,
    Always,
    Never,
}

pub(crate) async fn run(client: Client, options: &Duplicates) -> anyhow::Result<()> {
    let known = match options.find {
        Find::Always => None,
        Find::Never => Some(
            page(&client, None, 0, 1)
                .await?
                .map_err(anyhow::Error::msg)?,
        ),
        Find::Stale => {
            let known = page(&client, None, 0, 1).await?.ok();
            known.filter(|known| known["stale"] == false)
        }
    };
    if known.is_none() {
        let body = json!({ "kind": "find_duplicates" });
        let request = client.request(Method::POST, "/admin/jobs").json(&body);
        let job = client.send(request).await?.map_err(anyhow::Error::msg)?;
        let id = job["id"].as_str().unwrap_or_default();
        jobs::follow(&client, id).await?;
    }
    let mut first = 0;
    while first < options.limit {
        let limit = PAGE_SIZE.min(options.limit - first);
        let list = page(&client, options.filter.as_deref(), first, limit).await?;
        let list = list.map_err(anyhow::Error::msg)?;
        if first == 0 && !options.json {
            print_summary(&list);
        }
        for group in list["groups"].as_array().into_iter().flatten() {
            if options.json {
                println!("{group}");
            } else {
                print_group(group);
            }
        }
        first += limit;
        if first as u64 >= list["total"].as_u64().unwrap_or_default() {
            break;
        }
    }
    Ok(())
}

/// Returns a page of groups, or the detail of a refusal.
async fn page(
    client: &Client,
    filter: Option<&str>,
    first: usize,
    limit: usize,
) -> anyhow::Result<Result<Value, String>> {
    let path = format!("/duplicates?offset={first}&limit={limit}");
    let request = client.request(Method::GET, &path);
    let filter = filter.map(|filter| ("filter", filter));
    client.send(request.query(filter.as_slice())).await
}

fn print_summary(list: &Value) {
    println!(
        "{} groups, {} of {} images are copies of an older one (similarity at least {}){}",
        list["total"],
        list["copies"],
        list["images"],
        list["min_similarity"],
        if list["stale"] == true {
            "; the gallery has changed since"
        } else {
            ""
        },
    );
}

fn print_group(group: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    println!(
        "{}  {} images",
        text(&group["oldest"]["id"]),
        group["images"]
    );
    let copies = group["copies"].as_array();
    for copy in copies.into_iter().flatten() {
        let similarity = copy["similarity"].as_f64().unwrap_or_default();
        println!("  {similarity:.3}  {}", text(&copy["id"]));
    }
    let shown = copies.map_or(0, Vec::len) as u64 + 1;
    let more = group["images"]
        .as_u64()
        .unwrap_or_default()
        .saturating_sub(shown);
    if more > 0 {
        println!(
            "  and {more} more: GET /duplicates/{}",
            text(&group["oldest"]["id"])
        );
    }
}
