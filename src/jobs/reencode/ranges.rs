//! Shares the pages of a gallery among workers: splits them into ranges, each of which one worker
//! claims and encodes.

use std::time::Duration;

use metrics::counter;
use uuid::Uuid;

use crate::{
    jobs::{
        context::Context,
        error::JobError,
        queue::store::claim::Claimed,
        record::{EncodedPages, Range},
        reencode::generation_encoder::GenerationEncoder,
        service::Jobs,
    },
    telemetry::JOB_RANGES,
};

/// Minimum number of pages per range, and maximum number of ranges per gallery.
const MIN_RANGE_PAGES: u32 = 16;
const MAX_RANGES: u32 = 1000;
/// How often a worker checks whether the others have finished their ranges.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long a worker waits after it failed to encode a range.
const FAILED_RANGE_DELAY: Duration = Duration::from_secs(1);

impl Range {
    /// Splits a gallery of `pages` pages into ranges.
    fn all(job: Uuid, model: &str, generation: u32, pages: u32) -> Vec<Range> {
        let step = MIN_RANGE_PAGES.max(pages.div_ceil(MAX_RANGES));
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
    /// Encodes a range of another worker's job. Returns false if no range is open for the standby
    /// generation of this replica.
    pub(crate) async fn encode_range_for_other_job(
        &self,
        encoder: &mut Option<GenerationEncoder>,
    ) -> Result<bool, JobError> {
        let mut open = self.0.store.ranges(None)?;
        if open.is_empty() {
            return Ok(false);
        }
        let standby = self.0.gallery.index().generations().standby;
        let standby = standby.map(|standby| standby.number);
        open.retain(|range| range.done.is_none() && Some(range.generation) == standby);
        for range in open {
            let Some(claimed) = self.0.store.claim_range(&range).await? else {
                continue;
            };
            let Range {
                job,
                model,
                generation,
                first,
                ..
            } = range;
            let context = Context::without_record(self, job);
            let encoder = match encoder {
                Some(encoder) if encoder.number() == generation => encoder,
                _ => {
                    let entry = self.0.serving.find(&model).await?;
                    let entry = entry.ok_or(JobError::NoModel { id: model })?;
                    encoder.insert(GenerationEncoder::new(&context, entry, generation))
                }
            };
            tracing::info!(%job, first, "encoding a range of the job");
            if let Err(error) = encode_range(&context, encoder, claimed).await {
                // The job may have been cancelled; otherwise another worker encodes the range.
                tracing::warn!(%job, first, %error, "cannot encode a range of the job");
                tokio::time::sleep(FAILED_RANGE_DELAY).await;
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// Encodes all pages of the gallery together with the idle workers. Returns the result when all are
/// encoded. Does nothing if the service is alone.
pub(crate) async fn encode_shared(
    context: &Context,
    encoder: &mut GenerationEncoder,
    model: &str,
) -> Result<EncodedPages, JobError> {
    let store = context.store();
    let mut done = EncodedPages::default();
    if !store.is_shared() {
        return Ok(done);
    }
    let (id, number) = (context.id, encoder.number());
    let stale = |range: &Range| range.generation != number;
    if store.ranges(Some(id))?.iter().any(stale) {
        remove_all(context).await?;
    }
    let stored: Vec<u32> = store
        .ranges(Some(id))?
        .iter()
        .map(|range| range.first)
        .collect();
    let pages = context.gallery().index().pages()?;
    let mut all = Range::all(id, model, number, pages);
    all.retain(|range| !stored.contains(&range.first));
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
            let claim_range = || async move { Ok(store.claim_range(range).await?) };
            if let Some(claimed) = context.retry_while_unavailable(claim_range).await? {
                encode_range(context, encoder, claimed).await?;
                taken = true;
                break;
            }
        }
        if !taken {
            encoder.report_progress(context).await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    let ranges = store.ranges(Some(id))?.into_iter();
    ranges
        .filter_map(|range| range.done)
        .for_each(|of| done.add(of));
    Ok(done)
}

/// Removes the ranges of a job.
pub(crate) async fn remove_all(context: &Context) -> Result<(), JobError> {
    if context.store().is_shared() {
        let (store, id) = (context.store(), context.id);
        let remove_all = || async move { Ok(store.remove_ranges(id).await?) };
        context.retry_while_unavailable(remove_all).await
    } else {
        Ok(())
    }
}

/// Encodes a claimed range and writes the result, unless the claim is lost.
pub(crate) async fn encode_range(
    context: &Context,
    encoder: &mut GenerationEncoder,
    claimed: Claimed<Range>,
) -> Result<(), JobError> {
    let Claimed {
        item: mut range,
        claim,
    } = claimed;
    let lost = async {
        match &claim {
            Some(claim) => claim.lost().await,
            None => std::future::pending().await,
        }
    };
    let done = tokio::select! {
        done = encoder.encode_pages(context, range.first..range.end) => done?,
        () = lost => return Ok(()),
    };
    counter!(JOB_RANGES).increment(1);
    range.done = Some(done);
    let (store, range) = (context.store(), &range);
    let write = || async move { Ok(store.write_ranges(vec![range.clone()]).await?) };
    context.retry_while_unavailable(write).await?;
    if let Some(claim) = claim {
        claim.release().await;
    }
    Ok(())
}
