//! What handlers share: the gallery, the models that answer, the decoding limit and readiness.
//! Knows no routes; it offers them the walks they have in common, with errors they can return.

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
        body::budget::{Budget, Held},
        error::ApiError,
        keys::Keys,
        middleware::base_path::Base,
        origins::Origins,
    },
    image::{self, Part},
    index::{Codes, Index, IndexError},
    inference::{
        batch::{Batcher, Encoded},
        serving::{Models, Served, Serving},
    },
    jobs::Jobs,
    priority::Rank,
    replica::{Replica, Standing},
    snapshots::Snapshots,
    system::memory,
    telemetry::DECODE_SECONDS,
};

/// With an answer of a replica: how far the log is applied there, and how many writes it is known to be behind.
pub(crate) const POSITION: &str = "scihcgrl-position";
pub(crate) const LAG: &str = "scihcgrl-lag";
/// With a request: how far it has to be applied first.
pub(crate) const AFTER: &str = "scihcgrl-after";
/// From so many bytes on decoding a picture is heavy: a photograph of ten megapixels is not.
const HEAVY: u64 = 128 << 20;
/// How many heavy pictures may wait for each that is decoded: one takes about a second, and after ten it is too late for the next.
const HEAVY_WAITING: usize = 8;
/// Reads of the index for each core: a few wait for the disk while others compute. A wide one takes tens of megabytes.
const READS: usize = 4;
/// How often a request is tried again since models changed meanwhile, or others hold the memory that it needs, and how long it waits each time.
pub(crate) const CHANGES: usize = 100;
pub(crate) const CHANGE: Duration = Duration::from_millis(50);
/// How long such a request waits.
const BEHIND: Duration = Duration::from_secs(5);

/// What an [`AppState`] is made of.
pub struct Parts {
    /// Where images are kept and found.
    pub gallery: Gallery,
    /// What makes codes.
    pub serving: Serving,
    /// What goes on beside.
    pub jobs: Jobs,
    /// Copies of all that is kept.
    pub snapshots: Snapshots,
    /// How it stands to the log of a gallery, where it is one of several.
    pub replica: Option<Replica>,
    /// Whether what an earlier snapshot has of that log is let go of with each snapshot.
    pub trims_log: bool,
    /// The most bytes a request's body may have.
    pub max_body_bytes: usize,
    /// The bytes of memory that requests may hold.
    pub budget: Arc<Budget>,
    /// How long a request's body may take to come.
    pub body_time: Duration,
    /// Who may do what.
    pub keys: Keys,
    /// From which pages it may be used.
    pub origins: Origins,
    /// Under which path it is reached.
    pub base: Base,
}

/// A handle on what all requests share, cheap to clone. Not ready until told so.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

struct Shared {
    parts: Parts,
    /// As many pictures are decoded at once as there are cores, since more would only share them.
    decoders: Arc<Semaphore>,
    /// Those that take much memory wait here first, in kibibytes, so that they leave cores and memory to others.
    heavy: Arc<Semaphore>,
    /// How many kibibytes heavy ones have together.
    kibibytes: usize,
    /// How many heavy ones may wait, so that they leave the queue to others.
    waiting: Arc<Semaphore>,
    /// How many heavy ones are decoded at once at most.
    lanes: usize,
    /// Reads of the index that are under way at once.
    reads: Arc<Semaphore>,
    /// The bytes of memory that answers may hold until they are sent.
    answers: Arc<Budget>,
    ready: AtomicBool,
}

/// What becomes of an image for which there is no place just now.
#[derive(Clone, Copy)]
pub(crate) enum WhenFull {
    /// It is refused.
    Refused,
    /// It waits, and so does what it comes from.
    Waits,
}

/// An image, coded.
pub(crate) struct Coded {
    /// Its codes and the time they took.
    pub encoded: Encoded,
    /// The media type by content.
    pub media_type: &'static str,
    /// How long decoding took, waiting included.
    pub decode: Duration,
}

impl AppState {
    /// Not ready yet; see [`set_ready`](Self::set_ready).
    pub fn new(parts: Parts) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lanes = (cores / 2).max(1);
        let kibibytes = (parts.budget.total().max(image::MAX_BYTES) >> 10) as usize;
        AppState(Arc::new(Shared {
            heavy: Arc::new(Semaphore::new(kibibytes)),
            kibibytes,
            lanes,
            waiting: Arc::new(Semaphore::new(HEAVY_WAITING * lanes)),
            answers: Budget::new((parts.budget.total() / 2).max(parts.max_body_bytes as u64 * 2)),
            parts,
            decoders: Arc::new(Semaphore::new(cores)),
            reads: Arc::new(Semaphore::new(READS * cores)),
            ready: AtomicBool::new(false),
        }))
    }

    /// Opens the routes when the service has started, closes them while it drains. Probes always answer.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Release);
    }

    /// Whether requests are taken: the service has started, does not drain, and its model answers.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire) && self.models().active.batcher.is_alive()
    }

    pub(crate) fn max_body_bytes(&self) -> usize {
        self.0.parts.max_body_bytes
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }

    /// The models as they are now.
    pub(crate) fn models(&self) -> Models {
        self.0.parts.serving.models()
    }

    /// Codes of an image by every model whose codes are kept, and its media type. Where the one beside fails, whoever makes its
    /// generation finds the image.
    pub(crate) async fn encode_to_keep(
        &self,
        bytes: Bytes,
        turn: WhenFull,
    ) -> Result<(Vec<Codes>, &'static str), ApiError> {
        let Models { active, standby } = self.models();
        let of = |served: &Served, coded: Coded| Codes {
            generation: served.generation,
            codes: coded.encoded.output.codes,
            sketch: coded.encoded.output.sketch,
        };
        let more = async {
            let standby = standby.as_ref()?;
            match self
                .encode(standby, bytes.clone(), None, WhenFull::Waits)
                .await
            {
                Ok(coded) => Some(of(standby, coded)),
                Err(error) => {
                    tracing::debug!(%error, "an image has no codes of the model beside yet");
                    None
                }
            }
        };
        let (coded, more) = tokio::join!(self.encode(&active, bytes.clone(), None, turn), more);
        let coded = coded?;
        let media_type = coded.media_type;
        let codes = [of(&active, coded)].into_iter().chain(more);
        Ok((codes.collect(), media_type))
    }

    /// Codes of an image, or of a part of its picture, by one model. As many are decoded at once as there are cores, since more would only
    /// share them. What nobody waits for any more, or has waited too long, is not decoded.
    pub(crate) async fn encode(
        &self,
        served: &Served,
        bytes: Bytes,
        part: Option<Part>,
        turn: WhenFull,
    ) -> Result<Coded, ApiError> {
        let batcher = &served.batcher;
        let started = Instant::now();
        let input = served.card.input();
        // Before it has a place, which it would keep from others while it waits.
        let heavy = self.heavy(image::estimate(&bytes)?, turn, batcher).await?;
        let place = match turn {
            WhenFull::Refused => batcher.admit()?,
            WhenFull::Waits => batcher.admit_in_turn().await?,
        };
        let permit = self.0.decoders.clone().acquire_owned().await;
        place.check()?;
        let is_heavy = heavy.is_some();
        let decode = move || {
            // Held here, so that a caller who leaves does not let another decode beside the abandoned one.
            let _permits = (heavy, permit);
            let started = Instant::now();
            let decoded = image::decode_part(&bytes, input, part);
            histogram!(DECODE_SECONDS).record(started.elapsed());
            decoded
        };
        let decoded = match is_heavy {
            true => yielding(decode).await,
            false => tokio::task::spawn_blocking(decode)
                .await
                .map_err(ApiError::internal),
        }??;
        let decode = started.elapsed();
        let encoded = batcher.encode(place, decoded.pixels).await?;
        Ok(Coded {
            encoded,
            media_type: decoded.media_type,
            decode,
        })
    }

    /// What a picture whose decoding takes so many bytes holds meanwhile, if these are many.
    async fn heavy(
        &self,
        bytes: u64,
        turn: WhenFull,
        batcher: &Batcher,
    ) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if bytes < HEAVY {
            return Ok(None);
        }
        let Shared {
            kibibytes, lanes, ..
        } = *self.0;
        let waiting = self.0.waiting.clone();
        let _waiting = match turn {
            WhenFull::Refused => {
                let refused = |_| batcher.refuse(HEAVY_WAITING * lanes);
                waiting.try_acquire_owned().map_err(refused)?
            }
            WhenFull::Waits => waiting.acquire_owned().await.map_err(ApiError::internal)?,
        };
        let wanted = ((bytes >> 10) as usize).clamp(kibibytes / lanes, kibibytes);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let heavy = self.0.heavy.clone().acquire_many_owned(wanted).await;
        Ok(heavy.ok())
    }

    /// The bytes of an answer, which are held until they are sent.
    pub(crate) fn hold_answer(&self, bytes: u64) -> Result<Held, ApiError> {
        let answers = &self.0.answers;
        let mut held = Held::none(answers);
        // One that is longer than all may be was stored under another limit: it is sent alone.
        held.need(bytes.min(answers.total() / 4 * 3))?;
        Ok(held)
    }

    /// The same as soon as others are sent, for a while: a page of results asks for all its pictures at once.
    pub(crate) async fn hold_answer_soon(&self, bytes: u64) -> Result<Held, ApiError> {
        for _ in 0..CHANGES {
            if let Ok(held) = self.hold_answer(bytes) {
                return Ok(held);
            }
            sleep(CHANGE).await;
        }
        self.hold_answer(bytes)
    }

    /// What requests may hold: their bodies, and their answers.
    pub(crate) fn budgets(&self) -> impl Iterator<Item = &Budget> {
        [&*self.0.parts.budget, &*self.0.answers].into_iter()
    }

    /// Reads of the index may wait for the disk or walk all codes, so they leave the threads that serve.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let index = self.0.parts.gallery.index().clone();
        // One that goes on after its caller left still counts.
        let permit = self.0.reads.clone().acquire_owned().await;
        let answer = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&index)
        })
        .await;
        Ok(answer.map_err(ApiError::internal)??)
    }
}

/// What a thread of its own makes, which lets those that answer go first. A thread cannot take its rank back.
async fn yielding<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let (tell, told) = oneshot::channel();
    thread::Builder::new()
        .name("heavy-picture".to_owned())
        .spawn(move || {
            memory::give_back_soon();
            Rank::Index.take();
            let _ = tell.send(work());
        })
        .map_err(ApiError::internal)?;
    told.await.map_err(ApiError::internal)
}

/// Holds a request until what its caller wrote elsewhere is applied here, and tells with the answer how far that goes.
pub(crate) async fn replicated(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let Some(replica) = &state.parts().replica else {
        return Ok(next.run(request).await);
    };
    if let Some(after) = request.headers().get(AFTER) {
        let position = after.to_str().ok().and_then(|text| text.parse().ok());
        let position = position.ok_or_else(|| {
            let detail = format!("{AFTER} is not a position, a whole number as {POSITION} has it");
            ApiError::Invalid("invalid_parameter", detail)
        })?;
        if !replica.reach(position, BEHIND).await {
            let position_here = replica.standing().position;
            return Err(ApiError::Behind {
                position,
                position_here,
            });
        }
    }
    let before = replica.generation_epoch();
    let mut answer = next.run(request).await;
    let Standing { position, lag, .. } = replica.standing();
    // An answer that was made while models changed may be of either, and so of no position.
    if before == replica.generation_epoch() && before.is_multiple_of(2) {
        answer.headers_mut().insert(POSITION, position.into());
    }
    answer.headers_mut().insert(LAG, lag.into());
    Ok(answer)
}

/// Turns requests away while the service is not ready.
pub(crate) async fn gate(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !state.is_ready() {
        return Err(ApiError::NotReady);
    }
    Ok(next.run(request).await)
}
