//! `scihcgrl delete` and `scihcgrl change`: delete or change all images of a running service that
//! pass a filter.

use anyhow::{Context, ensure};
use clap::Args;
use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value};

use crate::cli::{client::Client, jobs};

/// The images meant, and what to do about them.
#[derive(Args, Clone)]
pub struct Selection {
    /// The images that pass this filter, such as `price < 5 AND labels = "shoe"`. For all images:
    /// `id EXISTS`.
    #[arg(long)]
    filter: String,
    /// Only print how many images pass.
    #[arg(long)]
    dry_run: bool,
    /// Do nothing unless exactly this number of images pass.
    #[arg(long, value_name = "IMAGES")]
    expect: Option<u64>,
    /// Print the job's id instead of following it.
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
}

/// How to change the images.
#[derive(Args, Clone)]
pub struct Changes {
    /// Replace all labels by this one. Repeat it for several.
    #[arg(long = "label", value_name = "LABEL", conflicts_with_all = ["add_labels", "remove_labels", "no_labels"])]
    labels: Vec<String>,
    /// Remove all labels.
    #[arg(long, conflicts_with_all = ["add_labels", "remove_labels"])]
    no_labels: bool,
    /// Add a label. Repeat it for several.
    #[arg(long = "add-label", value_name = "LABEL")]
    add_labels: Vec<String>,
    /// Remove a label. Repeat it for several.
    #[arg(long = "remove-label", value_name = "LABEL")]
    remove_labels: Vec<String>,
    /// Change members of the payload: a JSON merge patch such as {"price": 5, "old": null}, in
    /// which null removes a member. The patch null removes the payload.
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
}

pub(crate) async fn delete(client: Client, selection: &Selection) -> anyhow::Result<()> {
    let request = client.request(Method::DELETE, "/images");
    start(&client, request, selection).await
}

pub(crate) async fn change(
    client: Client,
    selection: &Selection,
    changes: &Changes,
) -> anyhow::Result<()> {
    let mut body = Map::new();
    if changes.no_labels || !changes.labels.is_empty() {
        body.insert("labels".to_owned(), changes.labels.clone().into());
    }
    for (name, labels) in [
        ("add_labels", &changes.add_labels),
        ("remove_labels", &changes.remove_labels),
    ] {
        if !labels.is_empty() {
            body.insert(name.to_owned(), labels.clone().into());
        }
    }
    if let Some(payload) = &changes.payload {
        let patch = serde_json::from_str(payload);
        let patch: Value = patch.with_context(|| format!("--payload is not JSON: {payload}"))?;
        body.insert("payload".to_owned(), patch);
    }
    ensure!(
        !body.is_empty(),
        "there is nothing to change; give --label, --no-labels, --add-label, --remove-label or --payload"
    );
    let request = client.request(Method::PATCH, "/images").json(&body);
    start(&client, request, selection).await
}

/// Starts the job and follows it, or prints the number of images in a dry run.
async fn start(
    client: &Client,
    request: RequestBuilder,
    selection: &Selection,
) -> anyhow::Result<()> {
    let request = request
        .query(&[("filter", &selection.filter)])
        .query(&[("dry_run", selection.dry_run)])
        .query(&selection.expect.map(|expect| [("expect", expect)]));
    let answer = client.send(request).await?.map_err(anyhow::Error::msg)?;
    if selection.dry_run {
        println!("{} images pass the filter", answer["count"]);
        return Ok(());
    }
    let id = answer["id"].as_str().unwrap_or_default();
    if selection.detach {
        println!("{id}");
    } else {
        println!("{:#}", jobs::follow(client, id).await?);
    }
    Ok(())
}
