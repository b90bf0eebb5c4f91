//! An adapting job as the service sees it: images are drawn from the gallery, a process learns what they differ by, and its model is taken in.
//! Knows the order, and when the new model is better; nothing of networks.

use std::{fs, time::Instant};

use serde_json::{Value, json};

use crate::{
    jobs::{
        context::Context,
        error::{JobError, failed},
        learning::{
            adapting,
            fine_tune::{activation, entry, learned, listed},
            protocol,
            training_set::{self, IMAGES},
        },
        options::Adapt,
    },
    train::unlabelled::FEWEST,
};

/// How much fewer copies may come first than before, if the new model is to count as better.
const LOSS: f64 = 0.005;

pub(crate) async fn run(context: &Context, options: &Adapt) -> Result<Value, JobError> {
    let started = Instant::now();
    let parent = options.model.clone().unwrap_or_default();
    let entry = entry(context, &parent).await?;
    let chosen = training_set::unlabelled(context, options);
    let skipped = training_set::make(context, false, chosen, entry.bytes).await?;
    let images = context.folder().join(IMAGES);
    let readable = fs::read_dir(&images).map_err(|source| failed(&images, source))?;
    let readable = readable.count();
    let learned_from = readable.saturating_sub(adapting::kept(readable, options));
    if learned_from < FEWEST {
        return Err(JobError::FewToAdapt {
            images: readable + skipped.len(),
            readable,
            learned_from,
            least: FEWEST,
        });
    }
    let task = protocol::Task::Adapt(options.clone());
    let (model, metrics) = learned(context, &entry.path, &task).await?;
    let activation = activation(context, &model, options.activate, || is_better(&metrics)).await?;
    Ok(json!({
        "model": model, "parent": parent, "metrics": metrics, "better": is_better(&metrics), "activation": activation,
        "skipped_count": skipped.len(), "skipped": listed(skipped), "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// Whether copies are found as before, and what is near by features is found better.
fn is_better(metrics: &Value) -> bool {
    let figure = |when: &str, name: &str| metrics[when][name].as_f64().unwrap_or(0.0);
    let rise = |name: &str| figure("after", name) - figure("before", name);
    rise("copies_first") >= -LOSS && rise("agreement") > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_nearer_to_the_features_without_losing_copies() {
        let metrics = |first: f64, agreement: f64| json!({ "before": { "copies_first": 0.9, "agreement": 0.5 }, "after": { "copies_first": first, "agreement": agreement } });
        assert!(is_better(&metrics(0.896, 0.6)));
        assert!(!is_better(&metrics(0.894, 0.6)));
        assert!(!is_better(&metrics(0.95, 0.5)));
        // What was not measured before counts as nothing.
        assert!(is_better(
            &json!({ "before": {}, "after": { "copies_first": 0.9, "agreement": 0.4 } })
        ));
    }
}
