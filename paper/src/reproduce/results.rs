//! The file of results, with a line per experiment. A stopped run resumes from it.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// Results by experiment, saved one by one.
pub struct Results {
    file: PathBuf,
    /// Quality by the key of the experiment.
    pub done: HashMap<String, Value>,
}

impl Results {
    /// Reads the file, if there is one.
    ///
    /// # Errors
    /// An error if the file exists and cannot be read.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let mut done = HashMap::new();
        // An incomplete last line is an experiment that was interrupted.
        for line in text.lines() {
            if let Ok(mut line) = serde_json::from_str::<Value>(line)
                && let Some(key) = line["key"].as_str().map(str::to_owned)
            {
                done.insert(key, line["quality"].take());
            }
        }
        Ok(Results {
            file: file.to_owned(),
            done,
        })
    }

    /// Adds the result of an experiment.
    ///
    /// # Errors
    /// An error if it cannot be written, or is already there.
    pub fn add(&mut self, key: String, quality: Value, started: Instant) -> anyhow::Result<()> {
        let map = quality["without"]["map"].as_f64().unwrap_or_default();
        let precision = quality["without"]["precision_radius_2"]
            .as_f64()
            .unwrap_or_default();
        let seconds = started.elapsed().as_secs();
        tracing::info!(
            "MAP {map:.4}, precision within radius 2 {precision:.4}, {seconds} s: {key}"
        );
        let line = json!({ "key": key, "quality": quality, "seconds": seconds });
        let mut file = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.file)?;
        // The first byte ends an incomplete line.
        writeln!(file, "\n{line}")
            .with_context(|| format!("cannot write {}", self.file.display()))?;
        ensure!(
            self.done.insert(key, quality).is_none(),
            "an experiment was run twice"
        );
        Ok(())
    }
}
