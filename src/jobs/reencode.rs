//! Re-encoding: every original gets codes of a model in the generation beside, which then takes the active one's place.
//! Knows in which order, and what is told at the end; neither how images are encoded nor how an index turns.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use super::{Context, JobError, encode::Filling, ranges};
use crate::{index::IndexError, registry::Entry, serving::ServingError};

/// The most images without codes that a job lists.
const LISTED: usize = 1000;

/// Encodes with a model whatever lacks its codes and activates it. One that is active already has nothing to do.
pub(super) async fn run(context: &Context, model: &str) -> Result<Value, JobError> {
    let (serving, gallery) = (context.serving(), context.gallery());
    if serving.models().active.id == model {
        return Ok(json!({ "model": model, "images": 0, "left_out": [] }));
    }
    let started = Instant::now();
    let begin = || async move { Ok(serving.begin(model).await?) };
    let (entry, number) = context.patiently(begin).await?;
    let done = turn(context, &entry, number).await;
    if !matches!(done, Err(JobError::Lost)) {
        ranges::forget(context).await?;
    }
    match done {
        Ok(mut result) => {
            result["model"] = json!(model);
            result["seconds"] = json!(started.elapsed().as_secs_f64());
            result["left_out_in_all"] = json!(gallery.index().facts().left_out);
            Ok(result)
        }
        Err(JobError::Cancelled) => {
            serving.discard().await?;
            Err(JobError::Cancelled)
        }
        Err(error) => Err(error),
    }
}

async fn turn(context: &Context, entry: &Entry, number: u32) -> Result<Value, JobError> {
    let serving = context.serving();
    let mut filling = Filling::new(context, entry.clone(), number);
    let mut done = ranges::share(context, &mut filling, &entry.id).await?;
    loop {
        // What was written while its writer did not know of this generation yet comes in a second round.
        let round = filling.pages(context, 0..u32::MAX).await?;
        let more = round.images > 0;
        done.add(round);
        context.check()?;
        let activate = || async move { Ok(serving.activate(number).await?) };
        match context.patiently(activate).await {
            Err(JobError::Serving {
                source:
                    ServingError::Index {
                        source: IndexError::Unfinished { .. },
                    },
            }) if more => continue,
            activated => activated?,
        }
        // Two workers may both have come to an image.
        let each = done.left_out.into_iter().map(|one| (one.id, one.reason));
        let each: BTreeMap<String, String> = each.collect();
        let count = each.len();
        let listed = each.into_iter().take(LISTED);
        let listed: Vec<_> = listed
            .map(|(id, reason)| json!({ "id": id, "reason": reason }))
            .collect();
        return Ok(json!({
            "generation": number, "images": filling.lacked(), "left_out_count": count, "left_out": listed,
        }));
    }
}
