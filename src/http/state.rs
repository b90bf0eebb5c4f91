//! The state that handlers share: the gallery, the models, limits on encoding, reading and memory,
//! and readiness. Reads the index for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, time::sleep};

use crate::{
    gallery::Gallery,
    http::{
        body::budget::{Budget, Reservation},
        encode::ImageEncoder,
        error::ApiError,
        keys::Keys,
        middleware::base_path::BasePath,
        origins::Origins,
    },
    index::{Index, IndexError},
    inference::serving::{Models, Serving},
    jobs::Jobs,
    replica::Replica,
    snapshots::Snapshots,
};

/// Concurrent index reads per core: some wait for the disk while others compute. A search that
/// matches most images takes tens of megabytes.
const READS_PER_CORE: usize = 4;
/// Retries of a request whose model was replaced while it ran, or that waits for memory.
pub(crate) const MAX_RETRIES: usize = 100;
/// The pause before each retry.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(50);

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
    /// Maximum number of bytes of a request's body.
    pub max_body_bytes: usize,
    /// The memory that request bodies may take.
    pub budget: Arc<Budget>,
    /// Maximum time for receiving the body of a request.
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
    encoder: ImageEncoder,
    /// Concurrent reads of the index.
    reads: Arc<Semaphore>,
    /// The memory that answers may take until they are sent.
    answers: Arc<Budget>,
    ready: AtomicBool,
}

impl AppState {
    pub fn new(parts: Parts) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        AppState(Arc::new(Shared {
            encoder: ImageEncoder::new(cores, parts.budget.total()),
            answers: Budget::new((parts.budget.total() / 2).max(parts.max_body_bytes as u64 * 2)),
            parts,
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

    pub(crate) fn encoder(&self) -> &ImageEncoder {
        &self.0.encoder
    }

    /// Returns the current models.
    pub(crate) fn models(&self) -> Models {
        self.0.parts.serving.models()
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
