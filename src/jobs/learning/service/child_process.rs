//! Starts the learning process, follows its progress, and kills it if the job is to stop.

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

/// Number of lines kept from the end of its standard error.
const MAX_ERROR_LINES: usize = 20;
/// libtorch's messages if memory runs out: on a GPU, and on the machine.
const OUT_OF_MEMORY: [&str; 2] = ["out of memory", "can't allocate memory"];
/// The environment variable that configures libtorch's use of a GPU's memory.
const ALLOCATOR_VARIABLE: &str = "PYTORCH_ALLOC_CONF";

/// Runs the learning process and reports its progress. Increments `due` when there is a new state
/// to hand over, such as after each epoch.
pub(crate) async fn run(
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
    let given = std::env::var(ALLOCATOR_VARIABLE).map(|given| given + ",");
    let given = given.unwrap_or_default();
    command.env(
        ALLOCATOR_VARIABLE,
        format!("{given}per_process_memory_fraction:{gpu_memory}"),
    );
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|source| JobError::Process { source })?;
    // The process ends when this is dropped.
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
    let message = lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix("error: "));
    let reason = match message {
        Some(message) if OUT_OF_MEMORY.iter().any(|words| message.contains(words)) => {
            format!("{message}; a smaller batch_size needs less memory")
        }
        Some(message) => message.to_owned(),
        None => format!(
            "the learning process ended with {status}; the system may have killed it because memory ran out, and a smaller batch_size needs less"
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
        let Ok(line) = serde_json::from_str::<ProgressLine>(&line) else {
            continue;
        };
        let is_due = line.more.contains_key("map") || is_trained(folder);
        let progress = Progress {
            stage: line.stage,
            epoch: line.epoch,
            epochs: line.epochs,
            step: line.step,
            steps: line.steps,
            eta_seconds: line.eta_seconds,
            images: None,
        };
        context.progress(&progress, line.more.into()).await?;
        if is_due {
            due.send_modify(|count| *count += 1);
        }
    }
}

async fn last_lines(errors: impl AsyncRead + Unpin) -> VecDeque<String> {
    let (mut kept, mut lines) = (VecDeque::new(), BufReader::new(errors).lines());
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(line, "printed by the learning process");
        kept.push_back(line);
        if kept.len() > MAX_ERROR_LINES {
            kept.pop_front();
        }
    }
    kept
}
