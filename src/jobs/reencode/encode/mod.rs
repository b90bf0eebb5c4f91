//! Encoding what lacks codes in the generation beside: originals are fetched, decoded and encoded by a model on a thread of its own.
//! Knows pages, originals and codes; neither who else encodes nor what becomes of the generation.

mod encoder;

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
        context::{Context, TOLD},
        error::JobError,
        record::{EncodedPages, Progress, Uncoded},
    },
};

use encoder::{Encoder, Read};

/// Images that are encoded and written together.
const BATCH: usize = 16;
/// Originals that are fetched at a time.
const FETCHES: usize = 4;
/// How long searches may keep a batch waiting.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// A generation that is being filled.
pub(crate) struct GenerationEncoder {
    entry: Entry,
    number: u32,
    encoder: Option<Encoder>,
    began: Instant,
    /// How many images lacked codes then.
    lacked: u64,
    told: Option<Instant>,
}

impl GenerationEncoder {
    /// Of a generation, by its model.
    pub fn new(context: &Context, entry: Entry, number: u32) -> Self {
        GenerationEncoder {
            entry,
            number,
            encoder: None,
            began: Instant::now(),
            lacked: context.gallery().index().generations().missing,
            told: None,
        }
    }

    /// The generation's number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Gives the images of some pages their codes, where they lack them.
    pub async fn pages(
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
                let look = move || index.missing(number, pages, BATCH);
                tokio::task::spawn_blocking(look)
                    .await
                    .map_err(|_| JobError::Panicked)??
            };
            from = next;
            for batch in missing.chunks(BATCH) {
                context.check()?;
                let encoder = match &self.encoder {
                    Some(encoder) => encoder,
                    None => (self.encoder).insert(Encoder::start(context, &self.entry).await?),
                };
                let read = fetch(context, batch).await?;
                give_way(context).await;
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
                self.tell(context).await?;
            }
        }
        Ok(done)
    }

    /// Tells how far the generation is, whoever brought it there.
    pub async fn tell(&mut self, context: &Context) -> Result<(), JobError> {
        if self.told.is_some_and(|told| told.elapsed() < TOLD) {
            return Ok(());
        }
        self.told = Some(Instant::now());
        let now = context.gallery().index().generations();
        let encoded = self.lacked.saturating_sub(now.missing);
        let pace = self.began.elapsed().as_secs_f64() / encoded as f64;
        let progress = Progress {
            stage: "encode".to_owned(),
            step: now.images - now.missing,
            steps: now.images,
            eta_seconds: (encoded > 0).then(|| (pace * now.missing as f64).ceil() as u64),
            ..Progress::default()
        };
        let per_second = (1.0 / pace * 10.0).round() / 10.0;
        context
            .progress(&progress, json!({ "images_per_second": per_second }))
            .await
    }
}

/// Fetches originals; one that is gone or not whole is told by its reason.
async fn fetch(context: &Context, batch: &[Missing]) -> Result<Vec<Read>, JobError> {
    let each = batch.iter().cloned().map(|missing| async move {
        let original = context.original(&missing.id, missing.original, missing.bytes);
        let original = original.await?;
        Ok(Read { missing, original })
    });
    let read: Vec<Result<Read, JobError>> = stream::iter(each).buffered(FETCHES).collect().await;
    read.into_iter().collect()
}

/// Waits while searches do, but not for ever.
async fn give_way(context: &Context) {
    let since = Instant::now();
    while context.serving().models().active.batcher.waiting() > 0 && since.elapsed() < PATIENCE {
        tokio::time::sleep(PAUSE).await;
    }
}
