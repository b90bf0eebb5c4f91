//! Prints the progress of the learning process for the service, and writes its JSON files.

use std::{
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::{Map, Value, json};

use crate::{
    files,
    jobs::{learning::protocol::ProgressLine, record},
    train::Progress,
};

const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Prints the progress and pace of training at intervals.
pub(crate) struct ProgressReporter {
    batch_size: usize,
    /// The current stage, its first step, and the time at which that step began.
    stage_start: Option<(&'static str, usize, Instant)>,
    last_report: Option<Instant>,
}

impl ProgressReporter {
    pub fn new(batch_size: usize) -> Self {
        ProgressReporter {
            batch_size,
            stage_start: None,
            last_report: None,
        }
    }

    /// Prints the progress, unless the last line was printed recently and `map` is not given.
    pub fn report(&mut self, progress: &Progress, map: Option<Value>) {
        let Progress {
            stage, step, steps, ..
        } = *progress;
        if self.stage_start.is_none_or(|(last, ..)| last != stage) {
            self.stage_start = Some((stage, step, Instant::now()));
        }
        let recent = self
            .last_report
            .is_some_and(|last_report| last_report.elapsed() < PROGRESS_INTERVAL);
        if recent && map.is_none() {
            return;
        }
        self.last_report = Some(Instant::now());
        let mut more = Map::new();
        if stage != "features" {
            more.insert("loss".to_owned(), json!(rounded(progress.loss)));
            more.insert("reward".to_owned(), json!(rounded(progress.reward)));
        }
        if let Some(map) = map {
            more.insert("map".to_owned(), map);
        }
        let mut eta_seconds = None;
        if let Some((_, first, began)) = self.stage_start
            && step > first
            && stage == "joint"
        {
            let (elapsed, done) = (began.elapsed(), step - first);
            eta_seconds = record::eta_seconds(elapsed, done as u64, (steps - step) as u64);
            let each = elapsed.as_secs_f64() / done as f64;
            let pace = (self.batch_size as f64 / each * 10.0).round() / 10.0;
            more.insert("images_per_second".to_owned(), json!(pace));
        }
        print(&ProgressLine {
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

/// Prints a line. Ignores errors, because the service may be gone.
pub(crate) fn print(line: &ProgressLine) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", json!(line)).and_then(|()| out.flush());
}

/// Replaces a JSON file atomically.
pub(crate) fn write(path: &Path, value: &Value) -> anyhow::Result<()> {
    let written = files::replace(path, format!("{value:#}\n").as_bytes());
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Rounds to four decimals.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
