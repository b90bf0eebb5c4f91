//! The state that handlers share: the gallery, the models, limits on decoding, reading and memory,
//! and readiness. Encodes images and reads the index for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use metrics::histogram;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::sleep,
};

use crate::{
    gallery::Gallery,
    http::{
        body::budget::{Budget, Reservation},
        error::ApiError,
        keys::Keys,
        middleware::base_path::BasePath,
        origins::Origins,
    },
    image::{self, Part},
    index::{Codes, Index, IndexError},
    inference::{
        batch::{Batcher, Encoded},
        serving::{Models, ServedModel, Serving},
    },
    jobs::Jobs,
    priority::Priority,
    replica::{LogStatus, Replica},
    snapshots::Snapshots,
    system::memory,
    telemetry::DECODE_SECONDS,
};

/// Response header of a replica: the position up to which it has applied the log.
pub(crate) const POSITION_HEADER: &str = "scihcgrl-position";
/// Response header of a replica: the number of writes that it is known to be behind.
pub(crate) const LAG_HEADER: &str = "scihcgrl-lag";
/// Request header: the position that a replica must have applied before it answers.
pub(crate) const AFTER_HEADER: &str = "scihcgrl-after";
/// A picture is large if decoding it takes at least this many bytes. A photograph of ten megapixels
/// takes less.
const LARGE_DECODE_BYTES: u64 = 128 << 20;
/// The most large pictures that wait for each one being decoded. One takes about a second, and the
/// default deadline is ten seconds.
const MAX_WAITING_PER_LARGE_DECODE: usize = 8;
/// Concurrent index reads per core: some wait for the disk while others compute. A search that
/// matches most images takes tens of megabytes.
const READS_PER_CORE: usize = 4;
/// Retries of a request whose model was replaced while it ran, or that waits for memory.
pub(crate) const MAX_RETRIES: usize = 100;
/// The pause before each retry.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(50);
/// How long a request waits for the position that it asks for.
const POSITION_TIMEOUT: Duration = Duration::from_secs(5);

/// The parts of an [`AppState`].
pub struct Parts {
    pub gallery: Gallery,
    pub serving: Serving,
    pub jobs: Jobs,
    pub snapshots: Snapshots,
    /// None without replication.
    pub replica: Option<Replica>,
    /// Each new snapshot deletes the part of the log that the snapshot before it contains.
    pub trims_log: bool,
    /// The most bytes of a request's body.
    pub max_body_bytes: usize,
    /// The memory that request bodies may take.
    pub budget: Arc<Budget>,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    pub keys: Keys,
    pub origins: Origins,
    pub base: BasePath,
}

/// The state that all requests share; cheap to clone. Starts not ready: see
/// [`set_ready`](Self::set_ready).
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

struct Shared {
    parts: Parts,
    /// One permit a core: more pictures at once would only share the cores.
    decoders: Arc<Semaphore>,
    /// One permit a KiB of memory for large decodes, so that they leave cores and memory to others.
    large_memory: Arc<Semaphore>,
    /// All permits of `large_memory`.
    large_memory_kib: usize,
    /// Large pictures that may wait, so that they leave the queue to others.
    waiting: Arc<Semaphore>,
    /// The most large pictures that are decoded at once.
    large_decodes: usize,
    /// Concurrent reads of the index.
    reads: Arc<Semaphore>,
    /// The memory that answers may take until they are sent.
    answers: Arc<Budget>,
    ready: AtomicBool,
}

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
    /// How long decoding took, with the wait before it.
    pub decode: Duration,
}

impl AppState {
    pub fn new(parts: Parts) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let large_decodes = (cores / 2).max(1);
        let large_memory_kib = (parts.budget.total().max(image::MAX_MEMORY) >> 10) as usize;
        AppState(Arc::new(Shared {
            large_memory: Arc::new(Semaphore::new(large_memory_kib)),
            large_memory_kib,
            large_decodes,
            waiting: Arc::new(Semaphore::new(MAX_WAITING_PER_LARGE_DECODE * large_decodes)),
            answers: Budget::new((parts.budget.total() / 2).max(parts.max_body_bytes as u64 * 2)),
            parts,
            decoders: Arc::new(Semaphore::new(cores)),
            reads: Arc::new(Semaphore::new(READS_PER_CORE * cores)),
            ready: AtomicBool::new(false),
        }))
    }

    /// Opens the routes once the service has started, and closes them before it drains. Probes
    /// always answer.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Release);
    }

    /// Returns true if the service has started, is not draining, and its active model answers.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire) && self.models().active.batcher.is_alive()
    }

    pub(crate) fn max_body_bytes(&self) -> usize {
        self.0.parts.max_body_bytes
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// Returns the current models.
    pub(crate) fn models(&self) -> Models {
        self.0.parts.serving.models()
    }

    /// Returns the codes of an image by the active and the standby model, and the image's media
    /// type. If the standby model fails, the image is missing from its generation until a job
    /// encodes it.
    pub(crate) async fn encode_for_storage(
        &self,
        bytes: Bytes,
        when_full: WhenFull,
    ) -> Result<(Vec<Codes>, &'static str), ApiError> {
        let Models { active, standby } = self.models();
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
        let permit = self.0.decoders.clone().acquire_owned().await;
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
        let decoded = match is_large {
            true => run_at_low_priority(decode).await,
            false => tokio::task::spawn_blocking(decode)
                .await
                .map_err(ApiError::internal),
        }??;
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
        let Shared {
            large_memory_kib,
            large_decodes,
            ..
        } = *self.0;
        let waiting = self.0.waiting.clone();
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
        let memory = self.0.large_memory.clone();
        Ok(memory.acquire_many_owned(wanted).await.ok())
    }

    /// Reserves memory for an answer until it is sent.
    pub(crate) fn reserve_answer(&self, bytes: u64) -> Result<Reservation, ApiError> {
        let answers = &self.0.answers;
        let mut reservation = Reservation::empty(answers);
        // An image that is larger than the budget was stored under another limit; it is sent alone.
        reservation.add(bytes.min(answers.total() / 4 * 3))?;
        Ok(reservation)
    }

    /// Reserves memory for an answer, and waits for other answers to be sent if there is none: a
    /// page of results requests all its pictures at once.
    pub(crate) async fn reserve_answer_when_free(
        &self,
        bytes: u64,
    ) -> Result<Reservation, ApiError> {
        for _ in 0..MAX_RETRIES {
            if let Ok(reservation) = self.reserve_answer(bytes) {
                return Ok(reservation);
            }
            sleep(RETRY_DELAY).await;
        }
        self.reserve_answer(bytes)
    }

    /// Returns the memory budgets of requests and of answers.
    pub(crate) fn budgets(&self) -> impl Iterator<Item = &Budget> {
        [&*self.0.parts.budget, &*self.0.answers].into_iter()
    }

    /// Reads the index on a blocking thread, since a read may wait for the disk or walk all codes.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let index = self.0.parts.gallery.index().clone();
        // A read that continues after its caller has left still counts.
        let permit = self.0.reads.clone().acquire_owned().await;
        let answer = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&index)
        })
        .await;
        Ok(answer.map_err(ApiError::internal)??)
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

/// Delays a request until this replica has applied the position that the caller asks for, and adds
/// the replica's position and lag to the answer.
pub(crate) async fn wait_for_position(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(replica) = &state.parts().replica else {
        return Ok(next.run(request).await);
    };
    if let Some(after) = request.headers().get(AFTER_HEADER) {
        let position = after.to_str().ok().and_then(|text| text.parse().ok());
        let position = position.ok_or_else(|| {
            let detail = format!(
                "{AFTER_HEADER} is not a position; send the number that {POSITION_HEADER} had"
            );
            ApiError::Invalid("invalid_parameter", detail)
        })?;
        if !replica.wait_for_position(position, POSITION_TIMEOUT).await {
            let position_here = replica.log_status().position;
            return Err(ApiError::ReplicaBehind {
                position,
                position_here,
            });
        }
    }
    let before = replica.generation_epoch();
    let mut answer = next.run(request).await;
    let LogStatus { position, lag, .. } = replica.log_status();
    // An answer made during a change of models may be of either model, and so has no position.
    if before == replica.generation_epoch() && before.is_multiple_of(2) {
        answer
            .headers_mut()
            .insert(POSITION_HEADER, position.into());
    }
    answer.headers_mut().insert(LAG_HEADER, lag.into());
    Ok(answer)
}

/// Refuses requests while the service is not ready.
pub(crate) async fn require_ready(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !state.is_ready() {
        return Err(ApiError::NotReady);
    }
    Ok(next.run(request).await)
}
