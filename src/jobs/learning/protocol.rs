//! What a service and the process that learns for it agree on: the files of a job's folder, the task in one of them, and the
//! lines that the process prints.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::jobs::{
    learning::comparison,
    options::{Adapt, FineTune},
};
use crate::train::Progress;

/// The files of a job's folder.
pub(crate) const TASK: &str = "task.json";

/// The checkpoint to go on from.
pub(crate) const PARENT: &str = "parent.safetensors";

pub(crate) const MODEL: &str = "model.safetensors";

pub(crate) const OUTCOME: &str = "outcome.json";

/// The model as it was trained, before its quality was written into it.
pub(crate) const TRAINED: &str = "trained.safetensors";

pub(crate) const BEFORE: &str = "before.json";

/// What another process, elsewhere, goes on from: none of these is newer than those behind it need it to be.
pub(crate) const STATE: [&str; 4] = ["model.safetensors.resume", MODEL, TRAINED, BEFORE];

/// What is to be done, as the service leaves it in the folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "options", rename_all = "snake_case")]
pub(crate) enum Task {
    /// To learn classes.
    FineTune(FineTune),
    /// To learn what images show, without labels.
    Adapt(Adapt),
}

/// A line of what is told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ProgressLine {
    /// `measure`, `features`, `warm-up` or `joint`.
    pub stage: String,
    pub epoch: u64,
    pub epochs: u64,
    pub step: u64,
    pub steps: u64,
    pub eta_seconds: Option<u64>,
    /// What else there is to say: `loss`, `reward`, `images_per_second`, and after an epoch `map`, by length.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Whether all that is left to do in a folder is to measure what was learned.
pub(crate) fn is_trained(folder: &Path) -> bool {
    folder.join(TRAINED).exists()
}

/// Tells what a training tells, now and then, with its pace.
pub(crate) struct Teller {
    batch: usize,
    began: Option<(&'static str, usize, Instant)>,
    told: Option<Instant>,
}

impl Teller {
    pub fn new(batch: usize) -> Self {
        Teller {
            batch,
            began: None,
            told: None,
        }
    }

    pub fn tell(&mut self, progress: &Progress, map: Option<Value>) {
        let Progress {
            stage, step, steps, ..
        } = *progress;
        if self.began.is_none_or(|(of, ..)| of != stage) {
            self.began = Some((stage, step, Instant::now()));
        }
        let recent = self.told.is_some_and(|told| told.elapsed() < TOLD);
        if recent && map.is_none() {
            return;
        }
        self.told = Some(Instant::now());
        let mut more = Map::new();
        if stage != "features" {
            more.insert("loss".to_owned(), json!(comparison::rounded(progress.loss)));
            more.insert(
                "reward".to_owned(),
                json!(comparison::rounded(progress.reward)),
            );
        }
        if let Some(map) = map {
            more.insert("map".to_owned(), map);
        }
        let mut eta_seconds = None;
        if let Some((_, first, began)) = self.began
            && step > first
            && stage == "joint"
        {
            let each = began.elapsed().as_secs_f64() / (step - first) as f64;
            eta_seconds = Some((each * (steps - step) as f64).ceil() as u64);
            let pace = (self.batch as f64 / each * 10.0).round() / 10.0;
            more.insert("images_per_second".to_owned(), json!(pace));
        }
        tell(&ProgressLine {
            stage: stage.to_owned(),
            epoch: progress.epoch as u64,
            epochs: progress.epochs as u64,
            step: step as u64,
            steps: steps as u64,
            eta_seconds,
            more,
        });
    }
}

/// A line for whoever listens; nobody need.
pub(crate) fn tell(told: &ProgressLine) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", json!(told)).and_then(|()| out.flush());
}

/// Whole or not at all.
pub(crate) fn write(path: &Path, value: &Value) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let written = fs::write(&part, format!("{value:#}\n")).and_then(|()| fs::rename(&part, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// How often it is told how far it is.
const TOLD: Duration = Duration::from_millis(500);
