//! Encodes the images of requests. Limits how many pictures are decoded at once, and the memory of
//! large ones; `inference::batch` limits the queue for the model.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use metrics::histogram;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    http::error::ApiError,
    image::{self, Part},
    index::Codes,
    inference::{
        batch::{Batcher, Encoded},
        serving::{Models, ServedModel},
    },
    priority::Priority,
    system::memory,
    telemetry::DECODE_SECONDS,
};

/// A picture is large if decoding it takes at least this many bytes. A photograph of ten megapixels
/// takes less.
const LARGE_DECODE_BYTES: u64 = 128 << 20;
/// Maximum number of large pictures that wait per one that is decoded. One takes about a second,
/// and the default deadline is ten seconds.
const MAX_WAITING_PER_LARGE_DECODE: usize = 8;

/// What to do with an image while the queue is full.
#[derive(Clone, Copy)]
pub(crate) enum WhenFull {
    Refuse,
    /// Wait for a slot, and read no further image of the body.
    Wait,
}

/// The codes of an image, and the time that they took.
pub(crate) struct EncodedImage {
    pub encoded: Encoded,
    /// As found in the image's bytes.
    pub media_type: &'static str,
    /// Time from the start of the wait for decoding to its end.
    pub decode: Duration,
}

/// Decodes and encodes images within the limits of the service.
pub(crate) struct ImageEncoder {
    /// One permit per core: more pictures at once would only share the cores.
    decoders: Arc<Semaphore>,
    /// One permit per KiB of memory for large decodes, so that others get cores and memory.
    large_memory: Arc<Semaphore>,
    /// All permits of `large_memory`.
    large_memory_kib: usize,
    /// Large pictures that may wait, so that they leave the queue to others.
    waiting: Arc<Semaphore>,
    /// Maximum number of large pictures that are decoded at once.
    large_decodes: usize,
}

impl ImageEncoder {
    /// Large pictures may take `memory` bytes, but at least as many as the largest one needs.
    pub fn new(cores: usize, memory: u64) -> Self {
        let large_decodes = (cores / 2).max(1);
        let large_memory_kib = (memory.max(image::MAX_MEMORY) >> 10) as usize;
        ImageEncoder {
            decoders: Arc::new(Semaphore::new(cores)),
            large_memory: Arc::new(Semaphore::new(large_memory_kib)),
            large_memory_kib,
            waiting: Arc::new(Semaphore::new(MAX_WAITING_PER_LARGE_DECODE * large_decodes)),
            large_decodes,
        }
    }

    /// Returns the codes of an image by the active and the standby model, and the image's media
    /// type. If the standby model fails, the image is missing from its generation until a job
    /// encodes it.
    pub(crate) async fn encode_for_storage(
        &self,
        models: Models,
        bytes: Bytes,
        when_full: WhenFull,
    ) -> Result<(Vec<Codes>, &'static str), ApiError> {
        let Models { active, standby } = models;
        let codes_by = |served: &ServedModel, image: EncodedImage| Codes {
            generation: served.generation,
            codes: image.encoded.output.codes,
            sketch: image.encoded.output.sketch,
        };
        let standby_codes = async {
            let standby = standby.as_ref()?;
            match self
                .encode(standby, bytes.clone(), None, WhenFull::Wait)
                .await
            {
                Ok(image) => Some(codes_by(standby, image)),
                Err(error) => {
                    tracing::debug!(%error, "an image has no codes of the standby model yet");
                    None
                }
            }
        };
        let active_image = self.encode(&active, bytes.clone(), None, when_full);
        let (image, standby_codes) = tokio::join!(active_image, standby_codes);
        let image = image?;
        let media_type = image.media_type;
        let codes = [codes_by(&active, image)].into_iter().chain(standby_codes);
        Ok((codes.collect(), media_type))
    }

    /// Returns the codes of an image, or of a part of its picture, by one model. An image that
    /// nobody waits for any more, or that has waited too long, is not decoded.
    pub(crate) async fn encode(
        &self,
        served: &ServedModel,
        bytes: Bytes,
        part: Option<Part>,
        when_full: WhenFull,
    ) -> Result<EncodedImage, ApiError> {
        let batcher = &served.batcher;
        let started = Instant::now();
        let input = served.card.input();
        // Before it takes a queue slot, so that it does not occupy one while it waits.
        let large = image::required_memory(&bytes)?;
        let large = self.admit_large(large, when_full, batcher).await?;
        let slot = match when_full {
            WhenFull::Refuse => batcher.admit()?,
            WhenFull::Wait => batcher.admit_when_free().await?,
        };
        let permit = self.decoders.clone().acquire_owned().await;
        slot.check()?;
        let is_large = large.is_some();
        let decode = move || {
            // Kept until decoding ends, even if the caller has left.
            let _permits = (large, permit);
            let started = Instant::now();
            let decoded = image::decode_part(&bytes, input, part);
            histogram!(DECODE_SECONDS).record(started.elapsed());
            decoded
        };
        let decoded = if is_large {
            run_at_low_priority(decode).await?
        } else {
            let decoded = tokio::task::spawn_blocking(decode).await;
            decoded.map_err(ApiError::internal)?
        }?;
        let decode = started.elapsed();
        let encoded = batcher.encode(slot, decoded.pixels).await?;
        Ok(EncodedImage {
            encoded,
            media_type: decoded.media_type,
            decode,
        })
    }

    /// Waits for memory if decoding a picture takes many bytes. The permit holds the memory.
    async fn admit_large(
        &self,
        bytes: u64,
        when_full: WhenFull,
        batcher: &Batcher,
    ) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if bytes < LARGE_DECODE_BYTES {
            return Ok(None);
        }
        let Self {
            large_memory_kib,
            large_decodes,
            ..
        } = *self;
        let waiting = self.waiting.clone();
        let _waiting = match when_full {
            WhenFull::Refuse => {
                let refused =
                    |_| batcher.count_refusal(MAX_WAITING_PER_LARGE_DECODE * large_decodes);
                waiting.try_acquire_owned().map_err(refused)?
            }
            WhenFull::Wait => waiting.acquire_owned().await.map_err(ApiError::internal)?,
        };
        let wanted =
            ((bytes >> 10) as usize).clamp(large_memory_kib / large_decodes, large_memory_kib);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let memory = self.large_memory.clone();
        Ok(memory.acquire_many_owned(wanted).await.ok())
    }
}

/// Runs work on a new thread of low priority. A thread cannot raise its priority again, so none of
/// the pool's is used.
async fn run_at_low_priority<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let (sender, result) = oneshot::channel();
    thread::Builder::new()
        .name("large-picture".to_owned())
        .spawn(move || {
            memory::release_quickly();
            Priority::Index.apply();
            let _ = sender.send(work());
        })
        .map_err(ApiError::internal)?;
    result.await.map_err(ApiError::internal)
}
