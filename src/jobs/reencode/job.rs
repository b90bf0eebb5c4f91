//! Re-encoding: every original gets codes of a model in the generation beside, which then takes the active one's place.
//! Knows in which order, and what is told at the end; neither how images are encoded nor how an index turns.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use crate::{
    index::IndexError,
    inference::{registry::Entry, serving::ServingError},
    jobs::{
        context::Context,
        error::JobError,
        reencode::{encode::GenerationEncoder, ranges},
    },
};

/// The most images without codes that a job lists.
const LISTED: usize = 1000;

/// Images without codes, and why.
type Uncoded = BTreeMap<String, String>;

/// Encodes with a model whatever lacks its codes and activates it. One that is active already has nothing to do.
pub(crate) async fn run(context: &Context, model: &str) -> Result<Value, JobError> {
    let (serving, gallery) = (context.serving(), context.gallery());
    let started = Instant::now();
    let done = if serving.models().active.id == model {
        Ok(Uncoded::default())
    } else {
        let begin = || async move { Ok(serving.begin(model).await?) };
        let (entry, number) = context.retry_while_unavailable(begin).await?;
        turn(context, &entry, number).await
    };
    if !matches!(done, Err(JobError::Lost)) {
        ranges::forget(context).await?;
    }
    if matches!(done, Err(JobError::Cancelled)) {
        serving.discard().await?;
    }
    let uncoded = done?;
    // Of all that has codes now, since whoever did a part of it may be gone.
    let now = gallery.index().facts();
    let count = uncoded.len();
    let listed = uncoded.into_iter().take(LISTED);
    let listed: Vec<_> = listed
        .map(|(id, reason)| json!({ "id": id, "reason": reason }))
        .collect();
    Ok(json!({
        "model": model, "generation": now.generation, "images": now.images - now.uncoded,
        "uncoded_count": count, "uncoded": listed, "uncoded_total": now.uncoded,
        "seconds": started.elapsed().as_secs_f64(),
    }))
}

async fn turn(context: &Context, entry: &Entry, number: u32) -> Result<Uncoded, JobError> {
    let serving = context.serving();
    let mut filling = GenerationEncoder::new(context, entry.clone(), number);
    let mut done = ranges::share(context, &mut filling, &entry.id).await?;
    loop {
        // What was written while its writer did not know of this generation yet comes in a second round.
        let round = filling.pages(context, 0..u32::MAX).await?;
        let more = round.images > 0;
        done.add(round);
        context.check()?;
        let activate = || async move { Ok(serving.activate(number).await?) };
        match context.retry_while_unavailable(activate).await {
            Err(JobError::Serving {
                source:
                    ServingError::Index {
                        source: IndexError::Unfinished { .. },
                    },
            }) if more => continue,
            activated => activated?,
        }
        // Two workers may both have come to an image.
        let each = done.uncoded.into_iter().map(|one| (one.id, one.reason));
        return Ok(each.collect());
    }
}
