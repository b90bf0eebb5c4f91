//! `scihcgrl jobs`: starts, lists, follows, cancels and deletes jobs of a running service.
//!
//! - `follow`: the events of a job

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

#[derive(Subcommand, Clone)]
pub enum Jobs {
    /// Fine-tune a model on labelled images of the gallery or of an archive, and follow the job.
    FineTune {
        /// A .tar or .tar.gz file with one folder of images per class, to learn from instead of the
        /// gallery.
        #[arg(long, value_name = "FILE")]
        archive: Option<PathBuf>,
        /// Options of the job as in the HTTP API, such as `labels=cat,dog`, `filter=price < 5`,
        /// `epochs=8` or `activate=if_better`.
        #[arg(value_name = "OPTION=VALUE")]
        options: Vec<String>,
        /// Print the job's id instead of following it.
        #[arg(long)]
        detach: bool,
    },
    /// Adapt a model to the gallery's images without labels, and follow the job.
    Adapt {
        /// Options of the job as in the HTTP API, such as `images=50000` or `activate=if_better`.
        #[arg(value_name = "OPTION=VALUE")]
        options: Vec<String>,
        /// Print the job's id instead of following it.
        #[arg(long)]
        detach: bool,
    },
    /// Activate a model. If the gallery has no codes of it yet, follow the job that makes them
    /// first.
    Activate {
        /// The model's id.
        model: String,
    },
    /// List the newest jobs.
    List {
        /// Maximum number of jobs to list, 1 to 1000.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Print a job as JSON.
    Show {
        /// The job's id.
        id: String,
    },
    /// Follow a job until it ends.
    Watch {
        /// The job's id.
        id: String,
    },
    /// Delete the records of jobs that ended more than a number of days ago.
    Prune {
        /// The age in days from which jobs are deleted.
        #[arg(long)]
        days: u64,
    },
    /// Cancel a job.
    Cancel {
        /// The job's id.
        id: String,
    },
}

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Options whose values are lists separated by commas.
const LIST_OPTIONS: [&str; 3] = ["labels", "images", "lengths"];

pub(crate) async fn run(client: Client, jobs: &Jobs) -> anyhow::Result<()> {
    match jobs {
        Jobs::FineTune {
            archive,
            options,
            detach,
        } => {
            let body = job_body("fine_tune", options)?;
            let request = client.request(Method::POST, "/admin/jobs");
            let request = match archive {
                Some(archive) => request.multipart(with_archive(&body, archive).await?),
                None => request.json(&body),
            };
            start(&client, request, *detach).await?;
        }
        Jobs::Adapt { options, detach } => {
            let request = client.request(Method::POST, "/admin/jobs");
            let request = request.json(&job_body("adapt", options)?);
            start(&client, request, *detach).await?;
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
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
            let now = u64::try_from(now)?;
            let pruned = prune(&client, now.saturating_sub(days.saturating_mul(DAY_MS))).await?;
            println!("{pruned} jobs deleted");
        }
        Jobs::Cancel { id } => {
            let job = send(&client, Method::POST, &format!("/admin/jobs/{id}/cancel")).await?;
            println!("{}", text(&job["state"]));
        }
    }
    Ok(())
}

/// Creates a job, then prints its id or follows it.
async fn start(client: &Client, request: RequestBuilder, detach: bool) -> anyhow::Result<()> {
    let job = client.send(request).await?.map_err(anyhow::Error::msg)?;
    let id = text(&job["id"]);
    if detach {
        println!("{id}");
    } else {
        watch(client, id).await?;
    }
    Ok(())
}

/// Makes the body of a request for a job.
fn job_body(kind: &str, options: &[String]) -> anyhow::Result<Value> {
    let mut body = Map::new();
    body.insert("kind".to_owned(), kind.into());
    for option in options {
        let (name, value) = option
            .split_once('=')
            .with_context(|| format!("'{option}' is not an option; write NAME=VALUE"))?;
        // Numbers and booleans keep their type; everything else is a string.
        let parse = |value: &str| {
            let parsed = serde_json::from_str::<Value>(value).ok();
            parsed
                .filter(|parsed| !parsed.is_object())
                .unwrap_or_else(|| value.into())
        };
        let value = if name == "filter" {
            // A filter may look like JSON.
            value.into()
        } else if name == "lengths" {
            value.split(',').map(parse).collect()
        } else if LIST_OPTIONS.contains(&name) {
            value.split(',').map(Value::from).collect()
        } else {
            parse(value)
        };
        body.insert(name.to_owned(), value);
    }
    Ok(body.into())
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

/// Makes a form of a job and its archive, which is read while it is sent.
async fn with_archive(body: &Value, archive: &Path) -> anyhow::Result<Form> {
    let file = Part::file(archive).await;
    let file = file.with_context(|| format!("cannot read {}", archive.display()))?;
    Ok(Form::new()
        .text("job", body.to_string())
        .part("archive", file))
}

/// Deletes the jobs that ended before a time, in milliseconds since 1970. Returns their number.
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

/// Follows a job and prints its result.
async fn watch(client: &Client, id: &str) -> anyhow::Result<()> {
    println!("{:#}", follow(client, id).await?);
    Ok(())
}
