//! Batching: images queue for the model workers, which encode the waiting ones in batches.
//!
//! - `worker`: the thread that owns a model

mod worker;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    image::Pixels,
    model::{Card, Hasher, ModelError, Output},
    telemetry::{IMAGES_DROPPED, QUEUE_DEPTH},
};

#[derive(Clone, Copy, Debug)]
pub struct BatchConfig {
    /// Maximum number of images in one forward pass.
    pub max_batch: usize,
    /// Time that a batch that is not full waits for more images while the service is busy.
    pub max_delay: Duration,
    /// Maximum number of accepted images without codes. Further images are refused.
    pub queue: usize,
    /// Maximum wait of an image for its batch. An image that waits longer is refused with
    /// [`BatchError::Late`].
    pub deadline: Duration,
}

impl Default for BatchConfig {
    fn default() -> Self {
        BatchConfig {
            max_batch: 32,
            max_delay: Duration::ZERO,
            queue: 256,
            deadline: Duration::from_secs(10),
        }
    }
}

/// The codes and sketch of an image, and how long they took.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub output: Output,
    /// Time that the image waited in the queue.
    pub queue: Duration,
    /// Time of its batch's forward pass.
    pub inference: Duration,
}

/// Why an image got no codes.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// The queue is full.
    #[error("the queue is full ({waiting} images); try again soon")]
    Full { waiting: usize },
    /// The image waited past the deadline.
    #[error("the image was not encoded within {} s; try again soon", deadline.as_secs_f64())]
    Late { deadline: Duration },
    /// A worker has stopped.
    #[error("the model no longer answers; restart the service")]
    Closed,
    /// The forward pass failed.
    #[error("inference failed: {source}")]
    Inference {
        /// Shared, because one failure may answer several images.
        source: Arc<ModelError>,
    },
    /// The model could not be loaded, or its first pass failed.
    #[error(transparent)]
    Start(#[from] ModelError),
    /// The operating system cannot start another thread.
    #[error("cannot start the model's thread: {source}")]
    Thread { source: std::io::Error },
}

/// A place in the queue for one image, from its acceptance until it has its codes. Its age counts
/// from the acceptance.
pub struct QueueSlot {
    since: Instant,
    deadline: Duration,
    _permit: OwnedSemaphorePermit,
}

impl QueueSlot {
    fn new(permit: OwnedSemaphorePermit, deadline: Duration) -> Self {
        gauge!(QUEUE_DEPTH).increment(1.0);
        QueueSlot {
            since: Instant::now(),
            deadline,
            _permit: permit,
        }
    }

    /// Refuses an image that has waited too long, before more work is spent on it.
    ///
    /// # Errors
    /// [`BatchError::Late`].
    pub fn check(&self) -> Result<(), BatchError> {
        let deadline = self.deadline;
        if self.since.elapsed() < deadline {
            return Ok(());
        }
        counter!(IMAGES_DROPPED, "reason" => "late").increment(1);
        Err(BatchError::Late { deadline })
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        gauge!(QUEUE_DEPTH).decrement(1.0);
    }
}

/// An image in the queue, and the caller that waits for its codes.
struct QueuedImage {
    pixels: Pixels,
    slot: QueueSlot,
    /// When it entered the queue.
    queued: Instant,
    answer: oneshot::Sender<Result<Encoded, BatchError>>,
}

/// The queue that the workers share. One worker at a time forms a batch from it.
struct SharedQueue {
    images: Mutex<mpsc::Receiver<QueuedImage>>,
    /// Number of images in the queue.
    length: Arc<AtomicUsize>,
    /// Number of workers.
    workers: usize,
}

/// A handle on the workers, cheap to clone. When the last one is dropped, they finish the waiting
/// images and end.
#[derive(Clone)]
pub struct Batcher {
    queue: mpsc::Sender<QueuedImage>,
    length: Arc<AtomicUsize>,
    slots: Arc<Semaphore>,
    /// Number of workers that were started.
    started: usize,
    /// Number of workers that still run.
    alive: Arc<AtomicUsize>,
    config: BatchConfig,
}

/// Workers whose models are loaded and warm.
pub struct Started {
    pub batcher: Batcher,
    pub workers: Vec<JoinHandle<()>>,
    pub card: Card,
    /// The model's id.
    pub model_id: String,
}

impl Batcher {
    /// Starts a worker for each loader; all share one queue. A worker loads its model and warms it
    /// up on its own thread, because on a GPU the warm-up speeds up only the thread that runs it.
    /// Also, each thread that computes gets its own OpenMP threads. If there are more of these than
    /// cores, OpenMP sleeps between operations instead of spinning, and a single image takes twice
    /// as long.
    ///
    /// # Errors
    /// [`BatchError::Start`] and [`BatchError::Thread`].
    pub fn start<F>(
        loaders: impl IntoIterator<Item = F>,
        config: BatchConfig,
    ) -> Result<Started, BatchError>
    where
        F: FnOnce() -> Result<Hasher, ModelError> + Send + 'static,
    {
        let loaders: Vec<F> = loaders.into_iter().collect();
        let (queue, images) = mpsc::channel();
        let length = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::new(SharedQueue {
            images: Mutex::new(images),
            length: length.clone(),
            workers: loaders.len(),
        });
        let alive = Arc::new(AtomicUsize::new(0));
        let (mut workers, mut described) = (Vec::new(), None);
        for load in loaders {
            let (waiting, alive) = (waiting.clone(), worker::LiveWorker::new(alive.clone()));
            let (ready, started) = mpsc::channel();
            let run = move || {
                let _alive = alive;
                let warm =
                    load().and_then(|hasher| hasher.warm_up(config.max_batch).map(|()| hasher));
                let hasher = match warm {
                    Ok(hasher) => hasher,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                let described = (hasher.card().clone(), hasher.id().to_owned());
                if ready.send(Ok(described)).is_ok() {
                    worker::run(&hasher, &waiting, config);
                }
            };
            let worker = thread::Builder::new()
                .name(format!("model-{}", workers.len()))
                .spawn(run)
                .map_err(|source| BatchError::Thread { source })?;
            described = Some(started.recv().map_err(|_| BatchError::Closed)??);
            workers.push(worker);
        }
        let (card, model_id) = described.ok_or(BatchError::Closed)?;
        Ok(Started {
            batcher: Batcher {
                queue,
                length,
                slots: Arc::new(Semaphore::new(config.queue.max(1))),
                started: workers.len(),
                alive,
                config,
            },
            workers,
            card,
            model_id,
        })
    }

    /// Returns a queue slot for one image.
    ///
    /// # Errors
    /// [`BatchError::Full`] if none is free, and [`BatchError::Closed`].
    pub fn admit(&self) -> Result<QueueSlot, BatchError> {
        match self.slots.clone().try_acquire_owned() {
            _ if !self.is_alive() => Err(BatchError::Closed),
            Ok(permit) => Ok(QueueSlot::new(permit, self.config.deadline)),
            Err(_) => Err(self.count_refusal(self.config.queue)),
        }
    }

    /// Counts a refused image and returns its error, given the number of waiting images.
    pub fn count_refusal(&self, waiting: usize) -> BatchError {
        counter!(IMAGES_DROPPED, "reason" => "full").increment(1);
        BatchError::Full { waiting }
    }

    /// Waits for a free queue slot for one image. Only for callers that can make their clients
    /// wait.
    ///
    /// # Errors
    /// [`BatchError::Closed`].
    pub async fn admit_when_free(&self) -> Result<QueueSlot, BatchError> {
        let permit = self.slots.clone().acquire_owned().await;
        let permit = permit.map_err(|_| BatchError::Closed)?;
        Ok(QueueSlot::new(permit, self.config.deadline))
    }

    /// Encodes one image, in a batch with others that wait.
    ///
    /// # Errors
    /// [`BatchError::Late`], [`Inference`](BatchError::Inference) and
    /// [`Closed`](BatchError::Closed).
    pub async fn encode(&self, slot: QueueSlot, pixels: Pixels) -> Result<Encoded, BatchError> {
        let (answer, answered) = oneshot::channel();
        let waiting = QueuedImage {
            pixels,
            slot,
            queued: Instant::now(),
            answer,
        };
        self.length.fetch_add(1, Ordering::Relaxed);
        self.queue.send(waiting).map_err(|_| BatchError::Closed)?;
        answered.await.map_err(|_| BatchError::Closed)?
    }

    /// Returns the number of images that wait for a worker.
    pub fn waiting(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Returns false once a worker has ended, because its thread panicked or its device failed.
    /// Only a restart helps then.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire) == self.started
    }
}
