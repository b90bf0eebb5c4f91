//! `scihcgrl jobs`: has a running service learn or change its model, follows what it does, stops it.
//! Knows requests and how progress reads; what a job does is the service's.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::{Map, Value};

use super::client::Client;

/// What is asked of a service's jobs.
#[derive(Subcommand, Clone)]
pub enum Jobs {
    /// Train a model further on labelled images of the gallery, and follow it.
    FineTune {
        /// Options as in the contract, such as `labels=cat,dog`, `epochs=8` or `activate=if_better`.
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
    /// Stop a job.
    Cancel {
        /// The job's id.
        id: String,
    },
}

/// Options whose values are lists, with commas between.
const LISTS: [&str; 3] = ["labels", "images", "lengths"];

pub(super) async fn run(client: Client, jobs: &Jobs) -> anyhow::Result<()> {
    match jobs {
        Jobs::FineTune { options, detach } => {
            let job = post(&client, "/admin/jobs", Some(fine_tune(options)?)).await?;
            match detach {
                true => println!("{}", text(&job["id"])),
                false => watch(&client, text(&job["id"])).await?,
            }
        }
        Jobs::Activate { model } => {
            let answer = post(&client, &format!("/admin/models/{model}/activate"), None).await?;
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
        Jobs::Cancel { id } => {
            let job = post(&client, &format!("/admin/jobs/{id}/cancel"), None).await?;
            println!("{}", text(&job["state"]));
        }
    }
    Ok(())
}

/// The request that some options make.
fn fine_tune(options: &[String]) -> anyhow::Result<Value> {
    let mut asked = Map::new();
    asked.insert("kind".to_owned(), "fine_tune".into());
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
    let answer = client.send(client.request(Method::GET, path)).await?;
    answer.map_err(anyhow::Error::msg)
}

async fn post(client: &Client, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
    let request = client.request(Method::POST, path);
    let request = match &body {
        Some(body) => request.json(body),
        None => request,
    };
    client.send(request).await?.map_err(anyhow::Error::msg)
}

/// Follows a job, over a service that is started again too, and fails where it does.
async fn watch(client: &Client, id: &str) -> anyhow::Result<()> {
    let (mut last, mut show) = (String::from("0"), Show::default());
    loop {
        let path = format!("/admin/jobs/{id}");
        let job = get(client, &path).await?;
        let request = client.request(Method::GET, &format!("{path}/events"));
        let events = request.header("last-event-id", &last).send().await;
        let mut events = events.context("the service does not answer any more")?;
        let mut read = String::new();
        while let Ok(Some(chunk)) = events.chunk().await {
            read += &String::from_utf8_lossy(&chunk);
            while let Some((event, rest)) = read.split_once("\n\n") {
                show.event(event, &mut last);
                read = rest.to_owned();
            }
        }
        match text(&job["state"]) {
            "succeeded" => {
                println!("{:#}", job["result"]);
                return Ok(());
            }
            "failed" => bail!("the job failed: {}", text(&job["error"])),
            "cancelled" => bail!("the job was cancelled"),
            _ => {}
        }
    }
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
