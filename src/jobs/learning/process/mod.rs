//! The half of learning that runs in a child process: it measures the parent model, trains a new
//! one from the files in a job's folder, and measures that. A later process resumes where an
//! earlier one stopped.
//!
//! - `fine_tune`: learns labels
//! - `adapt`: learns without labels
//! - `comparison`: measures fine-tuned models
//! - `progress`: the lines that the process prints and the JSON files that it writes

mod adapt;
mod comparison;
mod fine_tune;
mod progress;

use std::{env, fs, io::Read, path::Path, process, thread};

use anyhow::Context;

use crate::{
    config::Compute,
    jobs::learning::protocol::{TASK, Task},
    priority::Priority,
};

/// Performs the task in a job's folder. With `attended`, the process ends when its standard input
/// closes, which happens if the service that started it ends.
///
/// # Errors
/// Any failure, in words for the client that created the job.
pub fn run(folder: &Path, compute: &Compute, attended: bool) -> anyhow::Result<()> {
    if attended {
        thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            process::exit(1);
        });
    }
    Priority::Job.apply();
    set_oom_score();
    // File names are relative, so that another worker can resume in another folder.
    env::set_current_dir(folder)
        .with_context(|| format!("there is no folder {}", folder.display()))?;
    let task = fs::read(TASK).context("the task cannot be read")?;
    let task: Task = serde_json::from_slice(&task).context("the task is malformed")?;
    match &task {
        Task::FineTune(options) => fine_tune::run(options, compute),
        Task::Adapt(options) => adapt::run(options, compute),
    }
}

/// Makes the kernel kill this process before the service if memory runs out.
fn set_oom_score() {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::debug!(%error, "if memory runs out, the service may be killed before this process");
    }
}
