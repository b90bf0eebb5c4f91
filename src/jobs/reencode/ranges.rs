//! A gallery that is encoded by several workers at once: its pages in ranges, each taken by one of them, and what came of each.
//! Knows pages and who has which; neither how an image is encoded nor what the codes are for.

use std::time::Duration;

use metrics::counter;
use uuid::Uuid;

use crate::{
    jobs::{
        context::Context,
        error::JobError,
        queue::store::hold::Held,
        record::{EncodedPages, Range},
        reencode::encode::GenerationEncoder,
        service::Jobs,
    },
    telemetry::RANGES,
};

/// The least pages of a range, and the most ranges of a gallery.
const PAGES: u32 = 16;
const MOST: u32 = 1000;
/// How often it is looked whether the others are done.
const LOOK: Duration = Duration::from_millis(500);
/// How long a range is let alone that could not be encoded here.
const LATER: Duration = Duration::from_secs(1);

impl Range {
    /// The ranges of a gallery with so many pages.
    fn all(job: Uuid, model: &str, generation: u32, pages: u32) -> Vec<Range> {
        let step = PAGES.max(pages.div_ceil(MOST));
        let range = |first| Range {
            job,
            model: model.to_owned(),
            generation,
            first,
            end: first.saturating_add(step),
            done: None,
            revision: 0,
        };
        (0..pages).step_by(step as usize).map(range).collect()
    }
}

impl Jobs {
    /// Encodes a range of another worker's job, if there is one whose generation is here.
    pub(crate) async fn help(
        &self,
        filling: &mut Option<GenerationEncoder>,
    ) -> Result<bool, JobError> {
        let mut open = self.0.store.ranges(None)?;
        if open.is_empty() {
            return Ok(false);
        }
        let standby = self.0.gallery.index().generations().standby;
        let standby = standby.map(|standby| standby.number);
        open.retain(|range| range.done.is_none() && Some(range.generation) == standby);
        for range in open {
            let Some(held) = self.0.store.hold_range(&range).await? else {
                continue;
            };
            let Range {
                job,
                model,
                generation,
                first,
                ..
            } = range;
            let context = Context::of_other_worker(self, job);
            let filling = match filling {
                Some(filling) if filling.number() == generation => filling,
                _ => {
                    let entry = self.0.serving.find(&model).await?;
                    let entry = entry.ok_or(JobError::NoModel { id: model })?;
                    filling.insert(GenerationEncoder::new(&context, entry, generation))
                }
            };
            tracing::info!(%job, first, "a range is encoded");
            if let Err(error) = encode(&context, filling, held).await {
                // Its job may have been cancelled; otherwise it is still to be done.
                tracing::warn!(%job, first, %error, "a range is left");
                tokio::time::sleep(LATER).await;
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// Has the pages of the gallery be encoded by whoever has nothing else to do, this worker included; returns when all are, and tells what came of
/// it. A service alone has nobody to share them with.
pub(crate) async fn share(
    context: &Context,
    filling: &mut GenerationEncoder,
    model: &str,
) -> Result<EncodedPages, JobError> {
    let store = context.store();
    let mut done = EncodedPages::default();
    if !store.is_shared() {
        return Ok(done);
    }
    let (id, number) = (context.id, filling.number());
    let stale = |range: &Range| range.generation != number;
    if store.ranges(Some(id))?.iter().any(stale) {
        forget(context).await?;
    }
    let there: Vec<u32> = store
        .ranges(Some(id))?
        .iter()
        .map(|range| range.first)
        .collect();
    let pages = context.gallery().index().pages()?;
    let mut all = Range::all(id, model, number, pages);
    all.retain(|range| !there.contains(&range.first));
    let all = &all;
    let write = || async move { Ok(store.write_ranges(all.clone()).await?) };
    context.retry_while_unavailable(write).await?;
    loop {
        context.check()?;
        let mut open = store.ranges(Some(id))?;
        open.retain(|range| range.done.is_none());
        if open.is_empty() {
            break;
        }
        let mut taken = false;
        for range in open {
            let range = &range;
            let hold = || async move { Ok(store.hold_range(range).await?) };
            if let Some(held) = context.retry_while_unavailable(hold).await? {
                encode(context, filling, held).await?;
                taken = true;
                break;
            }
        }
        if !taken {
            filling.tell(context).await?;
            tokio::time::sleep(LOOK).await;
        }
    }
    let ranges = store.ranges(Some(id))?.into_iter();
    ranges
        .filter_map(|range| range.done)
        .for_each(|of| done.add(of));
    Ok(done)
}

/// Forgets the ranges of a job that is over.
pub(crate) async fn forget(context: &Context) -> Result<(), JobError> {
    match context.store().is_shared() {
        true => {
            let (store, id) = (context.store(), context.id);
            let forget = || async move { Ok(store.forget_ranges(id).await?) };
            context.retry_while_unavailable(forget).await
        }
        false => Ok(()),
    }
}

/// Encodes a range that is held, and writes down what came of it, unless another took it over.
pub(crate) async fn encode(
    context: &Context,
    filling: &mut GenerationEncoder,
    held: Held<Range>,
) -> Result<(), JobError> {
    let Held {
        what: mut range,
        claim,
    } = held;
    let lost = async {
        match &claim {
            Some(claim) => claim.lost().await,
            None => std::future::pending().await,
        }
    };
    let done = tokio::select! {
        done = filling.pages(context, range.first..range.end) => done?,
        () = lost => return Ok(()),
    };
    counter!(RANGES).increment(1);
    range.done = Some(done);
    let (store, range) = (context.store(), &range);
    let write = || async move { Ok(store.write_ranges(vec![range.clone()]).await?) };
    context.retry_while_unavailable(write).await?;
    if let Some(claim) = claim {
        claim.release().await;
    }
    Ok(())
}
