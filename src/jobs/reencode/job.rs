//! Re-encodes a gallery: gives every image codes in the standby generation of a model, and
//! activates that generation.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};

use crate::{
    index::IndexError,
    inference::{registry::Entry, serving::ServingError},
    jobs::{
        context::Context,
        error::JobError,
        reencode::{generation_encoder::GenerationEncoder, ranges},
    },
};

/// Maximum number of uncoded images that a job lists.
const MAX_UNCODED_LISTED: usize = 1000;

/// Uncoded images by id, with the reasons.
type Uncoded = BTreeMap<String, String>;

/// Encodes all images that lack codes of a model, then activates the model. Does nothing if the
/// model is already active.
pub(crate) async fn run(context: &Context, model: &str) -> Result<Value, JobError> {
    let (serving, gallery) = (context.serving(), context.gallery());
    let started = Instant::now();
    let done = if serving.models().active.id == model {
        Ok(Uncoded::default())
    } else {
        let begin = || async move { Ok(serving.begin(model).await?) };
        let (entry, number) = context.retry_while_unavailable(begin).await?;
        encode_and_activate(context, &entry, number).await
    };
    if !matches!(done, Err(JobError::Lost)) {
        ranges::remove_all(context).await?;
    }
    if matches!(done, Err(JobError::Cancelled)) {
        serving.discard().await?;
    }
    let uncoded = done?;
    // Counted over the whole index, because other workers may have encoded a part and ended.
    let now = gallery.index().stats();
    let count = uncoded.len();
    let listed = uncoded.into_iter().take(MAX_UNCODED_LISTED);
    let listed: Vec<_> = listed
        .map(|(id, reason)| json!({ "id": id, "reason": reason }))
        .collect();
    Ok(json!({
        "model": model, "generation": now.generation, "images": now.images - now.uncoded,
        "uncoded_count": count, "uncoded": listed, "uncoded_total": now.uncoded,
        "seconds": started.elapsed().as_secs_f64(),
    }))
}

async fn encode_and_activate(
    context: &Context,
    entry: &Entry,
    number: u32,
) -> Result<Uncoded, JobError> {
    let serving = context.serving();
    let mut encoder = GenerationEncoder::new(context, entry.clone(), number);
    let mut done = ranges::encode_shared(context, &mut encoder, &entry.id).await?;
    loop {
        // A second round finds images whose writers did not know of the new generation yet.
        let round = encoder.encode_pages(context, 0..u32::MAX).await?;
        let more = round.images > 0;
        done.add(round);
        context.check()?;
        let activate = || async move { Ok(serving.activate(number).await?) };
        match context.retry_while_unavailable(activate).await {
            Err(JobError::Serving(ServingError::Index(IndexError::Unfinished { .. }))) if more => {
                continue;
            }
            activated => activated?,
        }
        // Two workers may both have encoded an image.
        let each = done.uncoded.into_iter().map(|one| (one.id, one.reason));
        return Ok(each.collect());
    }
}
