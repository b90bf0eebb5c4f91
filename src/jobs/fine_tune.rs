//! A fine-tuning job as the service sees it: which images of the gallery are learned from, the process that learns, and what becomes of
//! its model. Knows galleries, processes and registries; nothing of networks.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use bytes::Bytes;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use crate::{image, index::Record};

use super::{
    Activate, Context, FineTune, JobError, Progress, TOLD, Task,
    tuning::{self, MODEL, OUTCOME, TASK, Told},
};

/// Where the images are, and the list of them, which comes last.
const IMAGES: &str = "images";
const MANIFEST: &str = "images.jsonl";
/// Records that are read at a time.
const PAGE: usize = 1000;
/// What is left free of a disk: the service writes to it too.
const SPARE_BYTES: u64 = 64 << 20;
/// What training writes for each byte of the model that it goes on from: weights, averages and moments, in floats, and the new model.
const STATE: u64 = 10;
/// Pixels a side that a picture is read at to see whether it can be.
const LEAST_SIDE: u32 = 32;
/// Lines of its errors that are kept of a process.
const LINES: usize = 20;
/// The most skipped images that a job lists.
const LISTED: usize = 1000;

/// An image that is learned from, with its classes.
struct Chosen {
    record: Record,
    labels: Vec<String>,
}

pub(super) async fn run(context: &Context, options: &FineTune) -> Result<Value, JobError> {
    let started = Instant::now();
    let folder = context.folder();
    let parent = options.model.clone().unwrap_or_default();
    let entry = context.serving().registry().get(&parent)?;
    let entry = entry.ok_or_else(|| JobError::NoModel { id: parent.clone() })?;
    if options
        .lengths
        .as_ref()
        .is_some_and(|lengths| *lengths != entry.card.lengths)
    {
        let lengths: Vec<_> = entry.card.lengths.iter().map(ToString::to_string).collect();
        return Err(JobError::Lengths {
            model: parent,
            lengths: lengths.join(", "),
        });
    }
    let skipped = match folder.join(MANIFEST).exists() {
        true => Vec::new(),
        false => {
            let classes = entry.card.classes.iter().cloned().collect();
            let chosen = choose(context, options, &classes).await?;
            room(&folder, &chosen, entry.bytes)?;
            export(context, &folder, chosen).await?
        }
    };
    let task = tuning::Task {
        options: options.clone(),
        parent: absolute(&entry.path)?,
        data: absolute(&folder.join(MANIFEST))?,
    };
    write(&folder.join(TASK), json!(task).to_string().as_bytes())?;
    learn(context, &folder).await?;
    let outcome =
        fs::read(folder.join(OUTCOME)).map_err(|source| failed(&folder.join(OUTCOME), source))?;
    let metrics: Value = serde_json::from_slice(&outcome).unwrap_or_default();
    let (registry, file) = (context.serving().registry().clone(), folder.join(MODEL));
    let added = tokio::task::spawn_blocking(move || registry.add(&file)).await;
    let model = added.map_err(|_| JobError::Panicked)??.id;
    let wanted = match options.activate {
        Activate::Manual => false,
        Activate::Always => true,
        Activate::IfBetter => mean(&metrics["after"]) > mean(&metrics["before"]),
    };
    let activation = match wanted {
        true => {
            let task = Task::Reencode {
                model: model.clone(),
            };
            Some(context.jobs.create_once(task).await?.id)
        }
        false => None,
    };
    let count = skipped.len();
    let listed: Vec<_> = skipped.into_iter().take(LISTED).collect();
    Ok(json!({
        "model": model, "parent": parent, "metrics": metrics, "activation": activation,
        "skipped_count": count, "skipped": listed, "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// The mean MAP of all queries over the lengths.
fn mean(measured: &Value) -> f64 {
    let lengths = measured["all"].as_object();
    let maps: Vec<f64> = lengths
        .into_iter()
        .flat_map(|lengths| {
            lengths
                .values()
                .filter_map(|figures| figures["map"].as_f64())
        })
        .collect();
    maps.iter().sum::<f64>() / maps.len().max(1) as f64
}

/// The images to learn from, with the labels that count.
async fn choose(
    context: &Context,
    options: &FineTune,
    known: &BTreeSet<String>,
) -> Result<Vec<Chosen>, JobError> {
    let index = context.gallery().index().clone();
    let (options, known) = (options.clone(), known.clone());
    let choose = move || {
        let wanted: BTreeSet<&String> = options.labels.iter().collect();
        let only: BTreeSet<_> = options.images.iter().collect();
        let (mut chosen, mut replay, mut from) = (Vec::new(), Vec::new(), None);
        loop {
            let page = index.list(from, PAGE)?;
            for record in page.records {
                let all = wanted.is_empty();
                let is_one = all && !record.labels.is_empty()
                    || record.labels.iter().any(|label| wanted.contains(label));
                let counts =
                    |label: &&String| all || wanted.contains(label) || known.contains(*label);
                let labels: Vec<String> = record.labels.iter().filter(counts).cloned().collect();
                if is_one && (only.is_empty() || only.contains(&record.id)) {
                    chosen.push(Chosen { record, labels });
                } else if !is_one && !labels.is_empty() {
                    replay.push(Chosen { record, labels });
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        replay.shuffle(&mut ChaCha8Rng::seed_from_u64(options.seed));
        replay.truncate((chosen.len() as f64 * options.replay).round() as usize);
        match chosen.is_empty() {
            true => Err(JobError::NoImages {
                labels: options.labels,
            }),
            false => {
                chosen.extend(replay);
                Ok(chosen)
            }
        }
    };
    let chosen = tokio::task::spawn_blocking(choose).await;
    chosen.map_err(|_| JobError::Panicked)?
}

/// Refuses to begin what would fill the disk, on which the service writes too.
fn room(folder: &Path, chosen: &[Chosen], model: u64) -> Result<(), JobError> {
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let images: u64 = chosen
        .iter()
        .map(|chosen| chosen.record.bytes.next_multiple_of(4096))
        .sum();
    let needed = images + STATE * model + SPARE_BYTES;
    let disk = rustix::fs::statvfs(folder).map_err(|error| failed(folder, error.into()))?;
    let free = disk.f_bavail * disk.f_frsize;
    match free >= needed {
        true => Ok(()),
        false => Err(JobError::Disk {
            path: folder.to_owned(),
            needed,
            free,
        }),
    }
}

/// Puts copies of the originals into the folder, since what a job learns from must not change under it, and then their list. Those that
/// cannot be read are told of.
async fn export(
    context: &Context,
    folder: &Path,
    chosen: Vec<Chosen>,
) -> Result<Vec<Value>, JobError> {
    let images = folder.join(IMAGES);
    fs::create_dir_all(&images).map_err(|source| failed(&images, source))?;
    let (mut lines, mut skipped, steps) = (String::new(), Vec::new(), chosen.len() as u64);
    let mut told = Instant::now();
    for (number, Chosen { record, labels }) in chosen.into_iter().enumerate() {
        context.check()?;
        let original = context.original(&record.id, record.original, record.bytes);
        let picture = match original.await? {
            Ok(bytes) => readable(bytes).await?,
            Err(reason) => Err(reason),
        };
        match picture {
            Ok(bytes) => {
                let name = format!("{IMAGES}/{number}");
                let path = folder.join(&name);
                let written = tokio::fs::write(&path, bytes).await;
                written.map_err(|source| failed(&path, source))?;
                lines += &json!({ "path": name, "labels": labels }).to_string();
                lines.push('\n');
            }
            Err(reason) => skipped.push(json!({ "id": record.id, "reason": reason })),
        }
        if told.elapsed() >= TOLD {
            told = Instant::now();
            let progress = Progress {
                stage: "export".to_owned(),
                step: number as u64 + 1,
                steps,
                ..Progress::default()
            };
            context.progress(&progress, json!({}))?;
        }
    }
    write(&folder.join(MANIFEST), lines.as_bytes())?;
    Ok(skipped)
}

/// Bytes that are a picture, or why they are none.
async fn readable(bytes: Bytes) -> Result<Result<Bytes, String>, JobError> {
    let decode = move || match image::decode(&bytes, LEAST_SIDE) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    };
    let decoded = tokio::task::spawn_blocking(decode).await;
    decoded.map_err(|_| JobError::Panicked)
}

/// Runs the process that learns, and tells what it tells.
async fn learn(context: &Context, folder: &Path) -> Result<(), JobError> {
    let compute = context.serving().compute();
    let device = compute.device.split(',').next().unwrap_or_default().trim();
    let program = std::env::current_exe().map_err(|source| JobError::Process { source })?;
    let mut command = Command::new(program);
    command
        .args(["fine-tune", "--attended", "--device", device])
        .arg(folder);
    if let Some(threads) = context.jobs.0.config.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|source| JobError::Process { source })?;
    // While this is held the process knows that it is waited for.
    let _attended = child.stdin.take();
    let errors = child
        .stderr
        .take()
        .map(|errors| tokio::spawn(last_lines(errors)));
    let followed = follow(context, &mut child).await;
    if followed.is_err() {
        let _ = child.kill().await;
    }
    followed?;
    let status = child
        .wait()
        .await
        .map_err(|source| JobError::Process { source })?;
    let lines = match errors {
        Some(errors) => errors.await.unwrap_or_default(),
        None => VecDeque::new(),
    };
    if status.success() {
        return Ok(());
    }
    let words = lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("error: "));
    Err(JobError::Learning {
        reason: match words {
            Some(words) => words.to_owned(),
            None => format!(
                "the process ended with {status}; where memory ran out it is the first to go"
            ),
        },
    })
}

async fn follow(context: &Context, child: &mut Child) -> Result<(), JobError> {
    let Some(out) = child.stdout.take() else {
        return Ok(());
    };
    let mut lines = BufReader::new(out).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            () = context.stopped() => return Err(JobError::Cancelled),
        };
        let Some(line) = line.map_err(|source| JobError::Process { source })? else {
            return Ok(());
        };
        let Ok(told) = serde_json::from_str::<Told>(&line) else {
            continue;
        };
        let progress = Progress {
            stage: told.stage,
            epoch: told.epoch,
            epochs: told.epochs,
            step: told.step,
            steps: told.steps,
            eta_seconds: told.eta_seconds,
        };
        context.progress(&progress, told.more.into())?;
    }
}

async fn last_lines(errors: impl AsyncRead + Unpin) -> VecDeque<String> {
    let (mut kept, mut lines) = (VecDeque::new(), BufReader::new(errors).lines());
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(line, "of the process that learns");
        kept.push_back(line);
        if kept.len() > LINES {
            kept.pop_front();
        }
    }
    kept
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), JobError> {
    let part = path.with_extension("part");
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.map_err(|source| failed(path, source))
}

fn absolute(path: &Path) -> Result<PathBuf, JobError> {
    std::path::absolute(path).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: std::io::Error) -> JobError {
    JobError::File {
        path: path.to_owned(),
        source,
    }
}
