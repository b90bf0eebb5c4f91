//! Runs a fine-tuning job: prepares the training set, runs the learning process, adds its model,
//! and starts the activation if the model is better.

use std::time::Instant;

use serde_json::{Value, json};

use crate::jobs::{
    context::Context,
    error::JobError,
    learning::{
        protocol,
        service::{
            steps::{first_skipped, learn, parent_model, start_activation},
            training_set,
        },
    },
    options::FineTune,
};

pub(crate) async fn run(context: &Context, options: &FineTune) -> Result<Value, JobError> {
    let started = Instant::now();
    let parent = options.model.clone().unwrap_or_default();
    let entry = parent_model(context, &parent).await?;
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
    let chosen = training_set::choose_labelled(context, options, known);
    let skipped =
        training_set::prepare(context, options.archive.is_some(), chosen, entry.bytes).await?;
    let task = protocol::Task::FineTune(options.clone());
    let (model, metrics) = learn(context, &entry.path, &task).await?;
    let is_better = || mean(&metrics["after"]) > mean(&metrics["before"]);
    let activation = start_activation(context, &model, options.activate, is_better).await?;
    Ok(json!({
        "model": model, "parent": parent, "metrics": metrics, "activation": activation,
        "skipped_count": skipped.len(), "skipped": first_skipped(skipped), "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// Returns the MAP of all queries, the mean over the lengths.
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
