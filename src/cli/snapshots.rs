//! `scihcgrl snapshots`: creates, lists and removes snapshots of a running service.

use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

use crate::cli::client::Client;

#[derive(Subcommand, Clone)]
pub enum Snapshots {
    /// Create a snapshot and print its id.
    Create {
        /// Copy the originals into it. By default true if originals are in a folder, false for a
        /// bucket or a replica.
        #[arg(long)]
        originals: Option<bool>,
    },
    /// List snapshots, newest first.
    List,
    /// Remove all but the newest snapshots.
    Prune {
        /// The number of snapshots to keep.
        #[arg(long)]
        keep: usize,
    },
    /// Remove a snapshot.
    Remove {
        /// The snapshot's id.
        id: String,
    },
}

pub(crate) async fn run(client: Client, snapshots: &Snapshots) -> anyhow::Result<()> {
    match snapshots {
        Snapshots::Create { originals } => {
            let mut request = client.request(Method::POST, "/admin/snapshots");
            if let Some(originals) = originals {
                request = request.query(&[("originals", originals)]);
            }
            let made = client.send(request).await?.map_err(anyhow::Error::msg)?;
            println!("{}", text(&made["id"]));
        }
        Snapshots::List => {
            for snapshot in list(&client).await? {
                println!(
                    "{}  {} images  {} bytes  model {}  originals {}",
                    text(&snapshot["id"]),
                    snapshot["images"],
                    snapshot["bytes"],
                    text(&snapshot["model"]),
                    if snapshot["originals"] == true {
                        "copied"
                    } else {
                        "elsewhere"
                    },
                );
            }
        }
        Snapshots::Prune { keep } => {
            let all = list(&client).await?;
            for snapshot in all.iter().skip(*keep) {
                remove(&client, text(&snapshot["id"])).await?;
            }
            println!("{} snapshots removed", all.len().saturating_sub(*keep));
        }
        Snapshots::Remove { id } => remove(&client, id).await?,
    }
    Ok(())
}

async fn list(client: &Client) -> anyhow::Result<Vec<Value>> {
    let request = client.request(Method::GET, "/admin/snapshots");
    let answer = client.send(request).await?.map_err(anyhow::Error::msg)?;
    Ok(answer["snapshots"].as_array().cloned().unwrap_or_default())
}

async fn remove(client: &Client, id: &str) -> anyhow::Result<()> {
    let path = format!("/admin/snapshots/{id}");
    let answer = client.send(client.request(Method::DELETE, &path)).await?;
    answer.map(drop).map_err(anyhow::Error::msg)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
