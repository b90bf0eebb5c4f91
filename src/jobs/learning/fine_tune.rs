//! A fine-tuning job as the service sees it: a training set is made, a process learns from it, and its model is taken in.
//! Knows the order, options and what becomes of the model; nothing of networks.

use std::{fs, path::Path, time::Instant};

use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::jobs::error::{failed, write};
use crate::{
    inference::registry::Entry,
    jobs::{
        Task,
        context::Context,
        error::JobError,
        learning::{
            learner,
            protocol::{self, MODEL, OUTCOME, PARENT, TASK},
            training_set,
        },
        options::{Activate, FineTune},
    },
};

/// What another worker goes on from.
const STATE: &str = "state.tar";
/// The most skipped images that a job lists.
const LISTED: usize = 1000;

pub(crate) async fn run(context: &Context, options: &FineTune) -> Result<Value, JobError> {
    let started = Instant::now();
    let parent = options.model.clone().unwrap_or_default();
    let entry = entry(context, &parent).await?;
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
    let known = entry.card.classes.iter().cloned().collect();
    let chosen = training_set::labelled(context, options, known);
    let skipped =
        training_set::make(context, options.archive.is_some(), chosen, entry.bytes).await?;
    let task = protocol::Task::FineTune(options.clone());
    let (model, metrics) = learned(context, &entry.path, &task).await?;
    let is_better = || mean(&metrics["after"]) > mean(&metrics["before"]);
    let activation = activation(context, &model, options.activate, is_better).await?;
    Ok(json!({
        "model": model, "parent": parent, "metrics": metrics, "activation": activation,
        "skipped_count": skipped.len(), "skipped": listed(skipped), "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// The model of an id.
pub(crate) async fn entry(context: &Context, id: &str) -> Result<Entry, JobError> {
    let serving = context.serving();
    let find = || async move { Ok(serving.find(id).await?) };
    let entry = context.retry_while_unavailable(find).await?;
    entry.ok_or_else(|| JobError::NoModel { id: id.to_owned() })
}

/// Images that were left out, as many as a job lists.
pub(crate) fn listed(skipped: Vec<Value>) -> Vec<Value> {
    skipped.into_iter().take(LISTED).collect()
}

/// Has a process do the task with what is in the job's folder and the model at `parent`, and takes in the model that it makes: its id, and
/// what was measured.
pub(crate) async fn learned(
    context: &Context,
    parent: &Path,
    task: &protocol::Task,
) -> Result<(String, Value), JobError> {
    let folder = context.folder();
    context.take_over(STATE).await?;
    let copied = tokio::fs::copy(parent, folder.join(PARENT)).await;
    copied.map_err(|source| failed(&folder.join(PARENT), source))?;
    write(&folder.join(TASK), json!(task).to_string().as_bytes())?;
    let due = watch::Sender::new(0);
    tokio::select! {
        learned = learner::learn(context, &folder, &due) => learned?,
        () = context.keep_handing_over(STATE, &protocol::STATE, due.subscribe()) => {}
    }
    let outcome =
        fs::read(folder.join(OUTCOME)).map_err(|source| failed(&folder.join(OUTCOME), source))?;
    let metrics: Value = serde_json::from_slice(&outcome).unwrap_or_default();
    let (serving, file) = (context.serving(), &folder.join(MODEL));
    let add = || async move { Ok(serving.add(file).await?) };
    let model = context.retry_while_unavailable(add).await?.id;
    Ok((model, metrics))
}

/// Starts the job that has a new model take the active one's place, if that is wanted; its id.
pub(crate) async fn activation(
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
