//! Batching: requests' pixels queue for the threads that own a model each, which take what waits as a batch.
//! Knows queues and time; neither HTTP nor what becomes of the codes.

mod form;
mod worker;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    image::Pixels,
    model::{Card, Hasher, ModelError, Output},
    telemetry::{DROPPED, QUEUE_DEPTH},
};

/// How batches are formed.
#[derive(Clone, Copy, Debug)]
pub struct BatchConfig {
    /// The most images of one forward pass.
    pub max_batch: usize,
    /// How long a batch that is not full waits for more images while the service is busy.
    pub max_delay: Duration,
    /// The most images between their acceptance and their codes; one more is refused.
    pub queue: usize,
    /// How old an image may be when its batch is formed; one that is older is answered without codes.
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

/// What was made of an image, and the time it took.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// What the model made of it.
    pub output: Output,
    /// How long the image waited.
    pub queue: Duration,
    /// How long its batch's forward pass took.
    pub inference: Duration,
}

/// Why there are no codes.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// As many images wait as may.
    #[error("{waiting} images wait already, which is as many as may; try again soon")]
    Full {
        /// How many.
        waiting: usize,
    },
    /// The image waited past the deadline.
    #[error("the image's turn did not come within {} s; try again soon", deadline.as_secs_f64())]
    Late {
        /// How long it may wait.
        deadline: Duration,
    },
    /// The workers have stopped.
    #[error("the model no longer answers; the service has to be started again")]
    Closed,
    /// The forward pass failed.
    #[error("inference failed: {source}")]
    Inference {
        /// What the model said; one failure may answer several images.
        source: Arc<ModelError>,
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

/// The right to have one image encoded, held until it is. It ages from the moment it is given.
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

    /// Refuses what has waited too long, before more is spent on it.
    ///
    /// # Errors
    /// [`BatchError::Late`].
    pub fn check(&self) -> Result<(), BatchError> {
        let deadline = self.deadline;
        if self.since.elapsed() < deadline {
            return Ok(());
        }
        counter!(DROPPED, "reason" => "late").increment(1);
        Err(BatchError::Late { deadline })
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        gauge!(QUEUE_DEPTH).decrement(1.0);
    }
}

/// One image that waits, and who waits for it.
struct Waiting {
    pixels: Pixels,
    place: QueueSlot,
    /// When it came to the model's queue.
    queued: Instant,
    answer: oneshot::Sender<Result<Encoded, BatchError>>,
}

/// The queue from which the workers take turns.
struct Queue {
    images: Mutex<mpsc::Receiver<Waiting>>,
    /// How many images are in it.
    length: Arc<AtomicUsize>,
    /// How many workers share them.
    workers: usize,
}

/// A handle on the workers, cheap to clone. When the last is dropped, they finish what waits and end.
#[derive(Clone)]
pub struct Batcher {
    queue: mpsc::Sender<Waiting>,
    length: Arc<AtomicUsize>,
    places: Arc<Semaphore>,
    /// How many workers there were and how many there are.
    started: usize,
    alive: Arc<AtomicUsize>,
    config: BatchConfig,
}

/// Workers that have their models loaded and warm.
pub struct Started {
    /// The handle on them.
    pub batcher: Batcher,
    /// Each ends when its worker does.
    pub workers: Vec<JoinHandle<()>>,
    /// What their model is.
    pub card: Card,
    /// The model's id.
    pub model_id: String,
}

impl Batcher {
    /// Starts a worker for each loader; they take turns at one queue. A worker loads its model and warms it up on its own thread, because on a
    /// GPU that speeds up this thread alone. Also, each thread that computes gets its own OpenMP threads, and where these are more than the
    /// cores, OpenMP sleeps between operations instead of spinning, and an image alone takes twice as long.
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
        let waiting = Arc::new(Queue {
            images: Mutex::new(images),
            length: length.clone(),
            workers: loaders.len(),
        });
        let alive = Arc::new(AtomicUsize::new(0));
        let (mut workers, mut told) = (Vec::new(), None);
        for load in loaders {
            let (waiting, alive) = (waiting.clone(), worker::Alive::new(alive.clone()));
            let (ready, started) = mpsc::channel();
            let run = move || {
                let _alive = alive;
                let warm =
                    load().and_then(|hasher| hasher.warm_up(config.max_batch).map(|()| hasher));
                let hasher = match warm {
                    Ok(hasher) => hasher,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                let told = (hasher.card().clone(), hasher.id().to_owned());
                if ready.send(Ok(told)).is_ok() {
                    worker::run(&hasher, &waiting, config);
                }
            };
            let worker = thread::Builder::new()
                .name(format!("model-{}", workers.len()))
                .spawn(run)
                .map_err(|source| BatchError::Thread { source })?;
            told = Some(started.recv().map_err(|_| BatchError::Closed)??);
            workers.push(worker);
        }
        let (card, model_id) = told.ok_or(BatchError::Closed)?;
        Ok(Started {
            batcher: Batcher {
                queue,
                length,
                places: Arc::new(Semaphore::new(config.queue.max(1))),
                started: workers.len(),
                alive,
                config,
            },
            workers,
            card,
            model_id,
        })
    }

    /// A place for one image, if there is one.
    ///
    /// # Errors
    /// [`BatchError::Full`] at once, and [`BatchError::Closed`].
    pub fn admit(&self) -> Result<QueueSlot, BatchError> {
        match self.places.clone().try_acquire_owned() {
            _ if !self.is_alive() => Err(BatchError::Closed),
            Ok(permit) => Ok(QueueSlot::new(permit, self.config.deadline)),
            Err(_) => Err(self.refuse(self.config.queue)),
        }
    }

    /// Counts an image that is refused since so many wait already.
    pub fn refuse(&self, waiting: usize) -> BatchError {
        counter!(DROPPED, "reason" => "full").increment(1);
        BatchError::Full { waiting }
    }

    /// A place for one image as soon as there is one, for callers that can make their own sources wait.
    ///
    /// # Errors
    /// [`BatchError::Closed`].
    pub async fn admit_in_turn(&self) -> Result<QueueSlot, BatchError> {
        let permit = self.places.clone().acquire_owned().await;
        let permit = permit.map_err(|_| BatchError::Closed)?;
        Ok(QueueSlot::new(permit, self.config.deadline))
    }

    /// Codes of one image, together with whichever others wait.
    ///
    /// # Errors
    /// [`BatchError::Late`], [`Inference`](BatchError::Inference) and [`Closed`](BatchError::Closed).
    pub async fn encode(&self, place: QueueSlot, pixels: Pixels) -> Result<Encoded, BatchError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            pixels,
            place,
            queued: Instant::now(),
            answer,
        };
        self.length.fetch_add(1, Ordering::Relaxed);
        self.queue.send(waiting).map_err(|_| BatchError::Closed)?;
        answered.await.map_err(|_| BatchError::Closed)?
    }

    /// How many images wait for a worker.
    pub fn waiting(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }

    /// Whether every worker is alive. One ends when its thread panics or its device fails, and then only a new process helps.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire) == self.started
    }
}
