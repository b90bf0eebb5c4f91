//! Runs an adaptation job: draws images from the gallery, runs the learning process, adds its
//! model, and starts the activation if the model is better.

use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::{
    jobs::{
        context::Context,
        error::{JobError, failed},
        learning::{
            protocol::{self, IMAGES},
            service::{
                steps::{first_skipped, learn, parent_model, start_activation},
                training_set,
            },
        },
        options::Adapt,
    },
    train::unlabelled::MIN_IMAGES,
};

/// Maximum loss in the share of copies that come first, for the new model to count as better.
const MAX_COPY_LOSS: f64 = 0.005;

pub(crate) async fn run(context: &Context, options: &Adapt) -> Result<Value, JobError> {
    let started = Instant::now();
    let parent = options.model.clone().unwrap_or_default();
    let entry = parent_model(context, &parent).await?;
    let chosen = training_set::choose_unlabelled(context, options);
    let skipped = training_set::prepare(context, false, chosen, entry.bytes).await?;
    let images = context.folder().join(IMAGES);
    let readable = fs::read_dir(&images).map_err(|source| failed(&images, source))?;
    let readable = readable.count();
    let learned_from = readable.saturating_sub(options.held_out(readable));
    if learned_from < MIN_IMAGES {
        return Err(JobError::FewToAdapt {
            images: readable + skipped.len(),
            readable,
            learned_from,
            least: MIN_IMAGES,
        });
    }
    let task = protocol::Task::Adapt(options.clone());
    let (model, metrics) = learn(context, &entry.path, &task).await?;
    let activation =
        start_activation(context, &model, options.activate, || is_better(&metrics)).await?;
    Ok(json!({
        "model": model, "parent": parent, "metrics": metrics, "better": is_better(&metrics), "activation": activation,
        "skipped_count": skipped.len(), "skipped": first_skipped(skipped), "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// Returns true if copies are found about as well as before, and the nearest images by features are
/// found better.
fn is_better(metrics: &Value) -> bool {
    let figure = |when: &str, name: &str| metrics[when][name].as_f64().unwrap_or(0.0);
    let rise = |name: &str| figure("after", name) - figure("before", name);
    rise("copies_first") >= -MAX_COPY_LOSS && rise("agreement") > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_better_if_neighbours_improve_and_copies_are_not_lost() {
        let metrics = |first: f64, agreement: f64| json!({ "before": { "copies_first": 0.9, "agreement": 0.5 }, "after": { "copies_first": first, "agreement": agreement } });
        assert!(is_better(&metrics(0.896, 0.6)));
        assert!(!is_better(&metrics(0.894, 0.6)));
        assert!(!is_better(&metrics(0.95, 0.5)));
        // A figure that was not measured counts as 0.
        assert!(is_better(
            &json!({ "before": {}, "after": { "copies_first": 0.9, "agreement": 0.4 } })
        ));
    }
}
