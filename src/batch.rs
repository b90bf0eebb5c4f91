//! Batching: requests' pixels queue for the one thread that owns the model, which takes what waits as a batch.
//! Knows queues and time; neither HTTP nor what becomes of the codes.

mod form;
mod worker;

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    code::HashCode,
    image::Pixels,
    model::{Card, Hasher, ModelError},
};

/// How batches are formed.
#[derive(Clone, Copy, Debug)]
pub struct BatchConfig {
    /// The most images of one forward pass.
    pub max_batch: usize,
    /// The most images that may wait; one more is refused.
    pub queue: usize,
}

/// An image's codes and the time they took.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// One code per length of the model, ascending.
    pub codes: Vec<HashCode>,
    /// How long the image waited.
    pub queue: Duration,
    /// How long its batch's forward pass took.
    pub inference: Duration,
}

/// Why there are no codes.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// As many images wait as may.
    #[error("{waiting} images wait already")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// The worker has stopped.
    #[error("the model's worker has stopped")]
    Closed,
    /// The forward pass failed.
    #[error("inference failed: {reason}")]
    Inference {
        /// What the model said; one failure answers a whole batch, so it is told in words.
        reason: String,
    },
    /// The model could not be loaded, or its first pass failed.
    #[error(transparent)]
    Start {
        /// Why.
        #[from]
        source: ModelError,
    },
    /// The operating system gives no thread.
    #[error("cannot start the model's thread: {source}")]
    Thread {
        /// What it said.
        source: std::io::Error,
    },
}

/// One image that waits, and who waits for it.
struct Waiting {
    pixels: Pixels,
    since: Instant,
    answer: oneshot::Sender<Result<Encoded, BatchError>>,
}

/// A handle on the worker, cheap to clone. When the last is dropped, the worker finishes what waits and ends.
#[derive(Clone)]
pub struct Batcher {
    queue: mpsc::Sender<Waiting>,
}

/// A worker that has its model loaded and warm.
pub struct Started {
    /// The handle on it.
    pub batcher: Batcher,
    /// Ends when the worker does.
    pub worker: JoinHandle<()>,
    /// What its model is.
    pub card: Card,
    /// The model's id.
    pub model_id: String,
}

impl Batcher {
    /// Starts the worker, which loads its model and runs a first pass, for that sets up libtorch's kernels. All of it on the
    /// worker's own thread: each thread that computes gets its own OpenMP threads, and where these are more than the cores, OpenMP
    /// sleeps between operations instead of spinning, and an image alone takes twice as long.
    ///
    /// # Errors
    /// [`BatchError::Start`] and [`BatchError::Thread`].
    pub fn start(
        load: impl FnOnce() -> Result<Hasher, ModelError> + Send + 'static,
        config: BatchConfig,
    ) -> Result<Started, BatchError> {
        let (queue, waiting) = mpsc::channel(config.queue.max(1));
        let (ready, started) = std::sync::mpsc::channel();
        let run = move || {
            let warm = load().and_then(|hasher| worker::warm_up(&hasher).map(|()| hasher));
            let hasher = match warm {
                Ok(hasher) => hasher,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let told = (hasher.card().clone(), hasher.id().to_owned());
            if ready.send(Ok(told)).is_ok() {
                worker::run(&hasher, waiting, config.max_batch.max(1));
            }
        };
        let worker = thread::Builder::new()
            .name("model".to_owned())
            .spawn(run)
            .map_err(|source| BatchError::Thread { source })?;
        let (card, model_id) = started.recv().map_err(|_| BatchError::Closed)??;
        Ok(Started {
            batcher: Batcher { queue },
            worker,
            card,
            model_id,
        })
    }

    /// Codes of one image, together with whichever others wait.
    ///
    /// # Errors
    /// [`BatchError`], by its variants; `Full` at once.
    pub async fn encode(&self, pixels: Pixels) -> Result<Encoded, BatchError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            pixels,
            since: Instant::now(),
            answer,
        };
        self.queue.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => BatchError::Full {
                waiting: self.queue.max_capacity(),
            },
            mpsc::error::TrySendError::Closed(_) => BatchError::Closed,
        })?;
        answered.await.map_err(|_| BatchError::Closed)?
    }

    /// Whether the worker still takes images.
    pub fn is_alive(&self) -> bool {
        !self.queue.is_closed()
    }
}

impl From<&ModelError> for BatchError {
    fn from(error: &ModelError) -> Self {
        BatchError::Inference {
            reason: error.to_string(),
        }
    }
}
