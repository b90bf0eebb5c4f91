//! The process that a fine-tuning job has learn: started, listened to, and ended where the job is to stop.
//! Knows processes and what one tells; neither what it learns from nor how.

use std::{collections::VecDeque, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::jobs::{
    context::Context,
    error::JobError,
    learning::protocol::{ProgressLine, is_trained},
    record::Progress,
    service::JobsConfig,
};

/// Lines of its errors that are kept of a process.
const LINES: usize = 20;
/// What libtorch says where memory runs out: of a GPU, and of the machine.
const OUT_OF_MEMORY: [&str; 2] = ["out of memory", "can't allocate memory"];
/// Where libtorch reads how a GPU's memory is to be used.
const ALLOCATOR: &str = "PYTORCH_ALLOC_CONF";

/// Runs the process that learns, and tells what it tells. `due` counts after each epoch, from which another could go on.
pub(crate) async fn learn(
    context: &Context,
    folder: &Path,
    due: &watch::Sender<u64>,
) -> Result<(), JobError> {
    let compute = context.serving().compute();
    let device = compute.device.split(',').next().unwrap_or_default().trim();
    let program = std::env::current_exe().map_err(|source| JobError::Process { source })?;
    let mut command = Command::new(program);
    command
        .args(["fine-tune", "--attended", "--device", device])
        .arg(folder);
    let JobsConfig {
        threads,
        gpu_memory,
        ..
    } = context.config();
    if let Some(threads) = threads {
        command.args(["--threads", &threads.to_string()]);
    }
    let given = std::env::var(ALLOCATOR).map(|given| given + ",");
    let given = given.unwrap_or_default();
    command.env(
        ALLOCATOR,
        format!("{given}per_process_memory_fraction:{gpu_memory}"),
    );
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
    let followed = follow(context, &mut child, folder, due).await;
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
    let reason = match words {
        Some(words) if OUT_OF_MEMORY.iter().any(|said| words.contains(said)) => {
            format!("{words}; a smaller batch_size needs less memory")
        }
        Some(words) => words.to_owned(),
        None => format!(
            "the process that learns ended with {status}; where memory runs out it is the first to go, and a smaller batch_size needs less"
        ),
    };
    Err(JobError::Learning { reason })
}

async fn follow(
    context: &Context,
    child: &mut Child,
    folder: &Path,
    due: &watch::Sender<u64>,
) -> Result<(), JobError> {
    let Some(out) = child.stdout.take() else {
        return Ok(());
    };
    let mut lines = BufReader::new(out).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            stopped = context.stopped() => return Err(stopped),
        };
        let Some(line) = line.map_err(|source| JobError::Process { source })? else {
            return Ok(());
        };
        let Ok(told) = serde_json::from_str::<ProgressLine>(&line) else {
            continue;
        };
        let is_due = told.more.contains_key("map") || is_trained(folder);
        let progress = Progress {
            stage: told.stage,
            epoch: told.epoch,
            epochs: told.epochs,
            step: told.step,
            steps: told.steps,
            eta_seconds: told.eta_seconds,
        };
        context.progress(&progress, told.more.into()).await?;
        if is_due {
            due.send_modify(|count| *count += 1);
        }
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
