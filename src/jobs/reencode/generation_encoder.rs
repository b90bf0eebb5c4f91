//! Encodes the missing images of the standby generation: fetches their originals, encodes them on
//! the encoder thread, and writes the codes.

use std::{
    ops,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::{
    index::{Missing, Recoded},
    inference::registry::Entry,
    jobs::{
        context::{Context, PROGRESS_INTERVAL},
        error::JobError,
        record::{EncodedPages, Progress, Uncoded, eta_seconds},
        reencode::encoder_thread::{EncoderThread, FetchedImage},
    },
};

/// Number of images that are encoded and written together.
const BATCH_IMAGES: usize = 16;
/// Maximum number of originals fetched at the same time.
const MAX_CONCURRENT_FETCHES: usize = 4;
/// Maximum time that a batch waits for searches.
const MAX_YIELD: Duration = Duration::from_secs(1);
const YIELD_POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Encodes a generation, page by page.
pub(crate) struct GenerationEncoder {
    entry: Entry,
    number: u32,
    encoder: Option<EncoderThread>,
    began: Instant,
    /// Number of missing images at `began`.
    missing_at_start: u64,
    last_report: Option<Instant>,
}

impl GenerationEncoder {
    /// Returns an encoder for the generation `number`, with its model.
    pub fn new(context: &Context, entry: Entry, number: u32) -> Self {
        GenerationEncoder {
            entry,
            number,
            encoder: None,
            began: Instant::now(),
            missing_at_start: context.gallery().index().generations().missing,
            last_report: None,
        }
    }

    /// The generation's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Encodes the missing images of some pages.
    pub async fn encode_pages(
        &mut self,
        context: &Context,
        pages: ops::Range<u32>,
    ) -> Result<EncodedPages, JobError> {
        let (index, number) = (context.gallery().index(), self.number);
        let (mut done, mut from) = (EncodedPages::default(), Some(pages.start));
        while let Some(first) = from {
            context.check()?;
            let (missing, next) = {
                let (index, pages) = (index.clone(), first..pages.end);
                let find = move || index.missing(number, pages, BATCH_IMAGES);
                tokio::task::spawn_blocking(find)
                    .await
                    .map_err(|_| JobError::Panicked)??
            };
            from = next;
            for batch in missing.chunks(BATCH_IMAGES) {
                context.check()?;
                let encoder = match &self.encoder {
                    Some(encoder) => encoder,
                    None => {
                        (self.encoder).insert(EncoderThread::start(context, &self.entry).await?)
                    }
                };
                let read = fetch(context, batch).await?;
                yield_to_searches(context).await;
                let coded = encoder.encode(read).await?;
                let uncoded = coded.iter().filter_map(|(recoded, reason)| {
                    reason.as_ref().map(|reason| Uncoded {
                        id: recoded.id.to_string(),
                        reason: reason.clone(),
                    })
                });
                done.uncoded.extend(uncoded);
                let recoded: Vec<Recoded> = coded.into_iter().map(|(recoded, _)| recoded).collect();
                done.images += recoded.len() as u64;
                let write = || {
                    let recoded = recoded.clone();
                    async move { Ok(index.recode(number, recoded).await?) }
                };
                context.retry_while_unavailable(write).await?;
                self.report_progress(context).await?;
            }
        }
        Ok(done)
    }

    /// Reports the generation's progress, including the work of other workers.
    pub async fn report_progress(&mut self, context: &Context) -> Result<(), JobError> {
        if self
            .last_report
            .is_some_and(|last_report| last_report.elapsed() < PROGRESS_INTERVAL)
        {
            return Ok(());
        }
        self.last_report = Some(Instant::now());
        let now = context.gallery().index().generations();
        let encoded = self.missing_at_start.saturating_sub(now.missing);
        let elapsed = self.began.elapsed();
        let pace = elapsed.as_secs_f64() / encoded as f64;
        let progress = Progress {
            stage: "encode".to_owned(),
            step: now.images - now.missing,
            steps: now.images,
            eta_seconds: eta_seconds(elapsed, encoded, now.missing),
            ..Progress::default()
        };
        let per_second = (1.0 / pace * 10.0).round() / 10.0;
        context
            .progress(&progress, json!({ "images_per_second": per_second }))
            .await
    }
}

/// Fetches originals. Returns the reason in place of an unreadable one.
async fn fetch(context: &Context, batch: &[Missing]) -> Result<Vec<FetchedImage>, JobError> {
    let each = batch.iter().cloned().map(|missing| async move {
        let original = context.original(&missing.id, missing.original, missing.bytes);
        let original = original.await?;
        Ok(FetchedImage { missing, original })
    });
    let read: Vec<Result<FetchedImage, JobError>> = stream::iter(each)
        .buffered(MAX_CONCURRENT_FETCHES)
        .collect()
        .await;
    read.into_iter().collect()
}

/// Waits while searches wait for the model, up to [`MAX_YIELD`].
async fn yield_to_searches(context: &Context) {
    let since = Instant::now();
    while context.serving().models().active.batcher.waiting() > 0 && since.elapsed() < MAX_YIELD {
        tokio::time::sleep(YIELD_POLL_INTERVAL).await;
    }
}
