//! The steps that fine-tuning and adaptation share: finding the parent, running the process, adding
//! the new model, and starting its activation.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    inference::registry::Entry,
    jobs::{
        Task,
        context::Context,
        error::{JobError, failed, write},
        learning::{
            protocol::{self, MODEL, OUTCOME, PARENT, TASK},
            service::child_process,
        },
        options::Activate,
    },
};

/// The packed files from which another worker resumes.
const HANDOVER: &str = "state.tar";
/// Maximum number of skipped images that a job lists.
const MAX_SKIPPED_LISTED: usize = 1000;

/// Returns the model with an id, or an error if the registry has none.
pub(crate) async fn parent_model(context: &Context, id: &str) -> Result<Entry, JobError> {
    let serving = context.serving();
    let find = || async move { Ok(serving.find(id).await?) };
    let parent_model = context.retry_while_unavailable(find).await?;
    parent_model.ok_or_else(|| JobError::NoModel { id: id.to_owned() })
}

/// Returns the first [`MAX_SKIPPED_LISTED`] of the skipped images.
pub(crate) fn first_skipped(skipped: Vec<Value>) -> Vec<Value> {
    skipped.into_iter().take(MAX_SKIPPED_LISTED).collect()
}

/// Runs the learning process on the job's folder and the model at `parent`, and adds the new model
/// to the registry. Returns its id and the measured quality.
pub(crate) async fn learn(
    context: &Context,
    parent: &Path,
    task: &protocol::Task,
) -> Result<(String, Value), JobError> {
    let folder = context.folder();
    context.take_over(HANDOVER).await?;
    let copied = tokio::fs::copy(parent, folder.join(PARENT)).await;
    copied.map_err(|source| failed(&folder.join(PARENT), source))?;
    write(&folder.join(TASK), json!(task).to_string().as_bytes())?;
    let due = watch::Sender::new(0);
    tokio::select! {
        learned = child_process::run(context, &folder, &due) => learned?,
        () = context.hand_over_when_due(HANDOVER, &protocol::RESUME_FILES, due.subscribe()) => {}
    }
    let outcome =
        fs::read(folder.join(OUTCOME)).map_err(|source| failed(&folder.join(OUTCOME), source))?;
    let metrics: Value = serde_json::from_slice(&outcome).unwrap_or_default();
    let (serving, file) = (context.serving(), &folder.join(MODEL));
    let add = || async move { Ok(serving.add(file).await?) };
    let model = context.retry_while_unavailable(add).await?.id;
    Ok((model, metrics))
}

/// If activation is requested, creates the job that encodes the gallery with the new model and
/// activates it. Returns the job's id.
pub(crate) async fn start_activation(
    context: &Context,
    model: &str,
    when: Activate,
    is_better: impl FnOnce() -> bool,
) -> Result<Option<Uuid>, JobError> {
    let wanted = match when {
        Activate::Manual => false,
        Activate::Always => true,
        Activate::IfBetter => is_better(),
    };
    if !wanted {
        return Ok(None);
    }
    let task = Task::Reencode {
        model: model.to_owned(),
    };
    let (jobs, task) = (&context.jobs, &task);
    let create = || jobs.create_once(task.clone());
    Ok(Some(context.retry_while_unavailable(create).await?.id))
}
