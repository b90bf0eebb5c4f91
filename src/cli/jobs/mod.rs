//! `scihcgrl jobs`: has a running service learn or change its model, follows what it does, stops it.
//! Knows requests and how progress reads; what a job does is the service's.

mod follow;

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::cli::client::Client;
use anyhow::Context;
use clap::Subcommand;
pub(crate) use follow::follow;
use reqwest::{
    Method, RequestBuilder,
    multipart::{Form, Part},
};
use serde_json::{Map, Value};

/// What is asked of a service's jobs.
#[derive(Subcommand, Clone)]
pub enum Jobs {
    /// Train a model further on labelled images of the gallery or of an archive, and follow it.
    FineTune {
        /// A .tar or .tar.gz file with a folder of images per class, to learn from instead of the gallery.
        #[arg(long, value_name = "FILE")]
        archive: Option<PathBuf>,
        /// Options as in the contract, such as `labels=cat,dog`, `epochs=8` or `activate=if_better`.
        #[arg(value_name = "OPTION=VALUE")]
        options: Vec<String>,
        /// Print the job's id instead of following it.
        #[arg(long)]
        detach: bool,
    },
    /// Make a model of what the gallery shows, without labels, and follow the job.
    Adapt {
        /// Options as in the contract, such as `images=50000` or `activate=if_better`.
        #[arg(value_name = "OPTION=VALUE")]
        options: Vec<String>,
        /// Print the job's id instead of following it.
        #[arg(long)]
        detach: bool,
    },
    /// Search by a model's codes from now on, or, after following it, as soon as they are made.
    Activate {
        /// The model's id.
        model: String,
    },
    /// The newest jobs, a line each.
    List {
        /// How many, 1 to 1000.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// A job as JSON.
    Show {
        /// The job's id.
        id: String,
    },
    /// Follow a job until it is over.
    Watch {
        /// The job's id.
        id: String,
    },
    /// Forget jobs that have been over for so many days, with what happened to them.
    Prune {
        /// How many days.
        #[arg(long)]
        days: u64,
    },
    /// Stop a job.
    Cancel {
        /// The job's id.
        id: String,
    },
}

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Options whose values are lists, with commas between.
const LISTS: [&str; 3] = ["labels", "images", "lengths"];

pub(crate) async fn run(client: Client, jobs: &Jobs) -> anyhow::Result<()> {
    match jobs {
        Jobs::FineTune {
            archive,
            options,
            detach,
        } => {
            let asked = asked("fine_tune", options)?;
            let request = client.request(Method::POST, "/admin/jobs");
            let request = match archive {
                Some(archive) => request.multipart(with_archive(&asked, archive).await?),
                None => request.json(&asked),
            };
            begin(&client, request, *detach).await?;
        }
        Jobs::Adapt { options, detach } => {
            let request = client.request(Method::POST, "/admin/jobs");
            let request = request.json(&asked("adapt", options)?);
            begin(&client, request, *detach).await?;
        }
        Jobs::Activate { model } => {
            let path = format!("/admin/models/{model}/activate");
            let answer = send(&client, Method::POST, &path).await?;
            match answer["job"]["id"].as_str() {
                Some(id) => watch(&client, id).await?,
                None => println!("model {model} is {}", text(&answer["state"])),
            }
        }
        Jobs::List { limit } => {
            let page = get(&client, &format!("/admin/jobs?limit={limit}")).await?;
            for job in page["jobs"].as_array().into_iter().flatten() {
                let (step, steps) = (&job["progress"]["step"], &job["progress"]["steps"]);
                let words = [&job["id"], &job["kind"], &job["state"], &job["model"]].map(text);
                println!("{}  {step}/{steps}", words.join("  "));
            }
        }
        Jobs::Show { id } => println!("{:#}", get(&client, &format!("/admin/jobs/{id}")).await?),
        Jobs::Watch { id } => watch(&client, id).await?,
        Jobs::Prune { days } => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
            let pruned = prune(&client, now.saturating_sub(days.saturating_mul(DAY_MS))).await?;
            println!("{pruned} jobs forgotten");
        }
        Jobs::Cancel { id } => {
            let job = send(&client, Method::POST, &format!("/admin/jobs/{id}/cancel")).await?;
            println!("{}", text(&job["state"]));
        }
    }
    Ok(())
}

/// Asks for a job, and follows it unless only its id is wanted.
async fn begin(client: &Client, request: RequestBuilder, detach: bool) -> anyhow::Result<()> {
    let job = client.send(request).await?.map_err(anyhow::Error::msg)?;
    let id = text(&job["id"]);
    match detach {
        true => println!("{id}"),
        false => watch(client, id).await?,
    }
    Ok(())
}

/// The request that some options of a kind of job make.
fn asked(kind: &str, options: &[String]) -> anyhow::Result<Value> {
    let mut asked = Map::new();
    asked.insert("kind".to_owned(), kind.into());
    for option in options {
        let (name, value) = option
            .split_once('=')
            .with_context(|| format!("'{option}' is not an option; one is written NAME=VALUE"))?;
        // A number or a truth as it is; anything else is a word.
        let one = |value: &str| {
            let read = serde_json::from_str::<Value>(value).ok();
            read.filter(|read| !read.is_object())
                .unwrap_or_else(|| value.into())
        };
        let value = match LISTS.contains(&name) {
            true if name == "lengths" => value.split(',').map(one).collect(),
            true => value.split(',').map(Value::from).collect(),
            false => one(value),
        };
        asked.insert(name.to_owned(), value);
    }
    Ok(asked.into())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Value> {
    send(client, Method::GET, path).await
}

async fn send(client: &Client, method: Method, path: &str) -> anyhow::Result<Value> {
    let answer = client.send(client.request(method, path)).await?;
    answer.map_err(anyhow::Error::msg)
}

/// A request with the archive that is to be learned from, which is read as it is sent.
async fn with_archive(asked: &Value, archive: &Path) -> anyhow::Result<Form> {
    let file = Part::file(archive).await;
    let file = file.with_context(|| format!("cannot read {}", archive.display()))?;
    Ok(Form::new()
        .text("job", asked.to_string())
        .part("archive", file))
}

/// Forgets the jobs that were over before a moment, in milliseconds since 1970, and tells how many there were.
async fn prune(client: &Client, before: u64) -> anyhow::Result<usize> {
    let (mut pruned, mut page) = (0, "/admin/jobs?limit=1000".to_owned());
    loop {
        let jobs = get(client, &page).await?;
        for job in jobs["jobs"].as_array().into_iter().flatten() {
            if job["finished_at_ms"].as_u64().is_some_and(|at| at < before) {
                let path = format!("/admin/jobs/{}", text(&job["id"]));
                send(client, Method::DELETE, &path).await?;
                pruned += 1;
            }
        }
        let Some(next) = jobs["next"].as_str() else {
            return Ok(pruned);
        };
        page = format!("/admin/jobs?limit=1000&before={next}");
    }
}

/// Follows a job and prints what came of it.
async fn watch(client: &Client, id: &str) -> anyhow::Result<()> {
    println!("{:#}", follow(client, id).await?);
    Ok(())
}
