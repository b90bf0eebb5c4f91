//! One replica of a gallery whose writes go through a log in NATS JetStream. Each write is appended
//! to the log, and every replica applies all writes in the order of the log.
//!
//! - `connection`: the log's stream and the gallery's manifest
//! - `follower`: applies the log to the index
//! - `message`: the format of a write in the log
//! - `models`: checkpoints that replicas exchange
//! - `shared_records`: records and claims that replicas share
//! - `error`: why a replica cannot start

mod connection;
mod error;
mod follower;
mod message;
mod models;
mod shared_records;

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream};
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout, timeout_at},
};
use uuid::Uuid;

use crate::index::{Index, IndexError, Log, Outcome, Write};

pub use connection::{GalleryManifest, LogConnection};
pub use error::ReplicaError;
pub use shared_records::{Claim, RecordChange, SharedRecords, SharedRecordsError};

/// Maximum time until a write is in the log and applied here.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of writes appended here that are remembered until they are applied.
const MAX_OWN_WRITES: usize = 1 << 16;
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// How often the replica asks for the last position of the log.
const HEAD_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Writes are refused at once if the log has not answered for this time.
const REFUSE_WRITES_AFTER: Duration = Duration::from_secs(3);
/// The replica is not ready if the log has not answered for this time.
const NOT_READY_AFTER: Duration = Duration::from_secs(15);
/// Maximum number of writes that a ready replica may be behind.
const MAX_READY_LAG: u64 = 1000;

/// A handle on a replica, cheap to clone.
#[derive(Clone)]
pub struct Replica(Arc<Shared>);

struct Shared {
    connection: LogConnection,
    /// The callers that wait for a write's outcome, by the id of its message.
    waiting: Mutex<HashMap<Uuid, Answer>>,
    /// The ids of writes that were appended here and are not applied yet, including those whose
    /// caller is gone. They sort by age.
    own_writes: Mutex<BTreeSet<Uuid>>,
    /// The position up to which the log is applied here.
    applied: watch::Sender<u64>,
    /// The last known position of the log.
    head: AtomicU64,
    /// False until the log has answered once; until then the lag is unknown.
    head_known: AtomicBool,
    /// Goes up by one when a change of generations begins, and by one when it ends: odd in between.
    generation_epoch: AtomicU64,
    /// When the log last answered.
    last_answer: Mutex<Instant>,
    /// True if the store accepts no more writes, so that only a restart helps.
    failed: AtomicBool,
    /// True if an unreadable message of the log was skipped.
    skipped_message: AtomicBool,
}

type Answer = oneshot::Sender<Result<Outcome, IndexError>>;

/// Starts and stops models so that they match the index's generations. Returns false if that fails.
pub type SyncModels = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// The progress of a replica in the log.
#[derive(Clone, Copy, Debug)]
pub struct LogStatus {
    /// The position up to which the log is applied.
    pub position: u64,
    /// Number of writes that the log is known to have after that position.
    pub lag: u64,
    /// Time since the log last answered.
    pub silence: Duration,
}

impl Replica {
    /// Makes the index [follow](Index::follow) the log behind a connection.
    ///
    /// # Errors
    /// [`ReplicaError::Index`].
    pub fn new(connection: LogConnection, index: &Index) -> Result<Self, ReplicaError> {
        let position = index.position()?.unwrap_or_default();
        let replica = Replica(Arc::new(Shared {
            connection,
            waiting: Mutex::default(),
            own_writes: Mutex::default(),
            applied: watch::Sender::new(position),
            head: AtomicU64::new(position),
            head_known: AtomicBool::new(false),
            generation_epoch: AtomicU64::new(0),
            last_answer: Mutex::new(Instant::now()),
            failed: AtomicBool::new(false),
            skipped_message: AtomicBool::new(false),
        }));
        index.follow(Arc::new(replica.clone()));
        Ok(replica)
    }

    /// Applies the log until the index refuses writes, and polls the log's last position. At the
    /// start and after each change of generations, calls `sync_models` until it succeeds, and
    /// applies nothing before that.
    pub async fn run(self, index: Index, sync_models: SyncModels) {
        tokio::join!(
            follower::follow(&self, &index, &sync_models),
            self.poll_head()
        );
    }

    /// Returns a counter that goes up by one when a change of generations begins here and by one
    /// when it ends. It is odd in between.
    pub fn generation_epoch(&self) -> u64 {
        self.0.generation_epoch.load(Ordering::Acquire)
    }

    pub fn log_status(&self) -> LogStatus {
        let position = *self.0.applied.borrow();
        LogStatus {
            position,
            lag: self.0.head.load(Ordering::Relaxed).saturating_sub(position),
            silence: self.0.last_answer.lock().elapsed(),
        }
    }

    /// Returns true if searches here see nearly all writes.
    pub fn is_ready(&self) -> bool {
        let LogStatus { lag, silence, .. } = self.log_status();
        let head_known = self.0.head_known.load(Ordering::Acquire);
        head_known && lag <= MAX_READY_LAG && silence < NOT_READY_AFTER && self.is_alive()
    }

    /// Returns false if only a restart helps.
    pub fn is_alive(&self) -> bool {
        !self.0.failed.load(Ordering::Relaxed)
    }

    /// Returns true if an unreadable message of the log was skipped since the start.
    pub fn has_skipped_message(&self) -> bool {
        self.0.skipped_message.load(Ordering::Relaxed)
    }

    /// Waits until the log is applied here up to a position. Returns false after a timeout.
    pub async fn wait_for_position(&self, position: u64, limit: Duration) -> bool {
        let mut applied = self.0.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= position);
        matches!(timeout(limit, reached).await, Ok(Ok(_)))
    }

    /// Deletes the log up to a position. Every replica must have applied that part already, or must
    /// be able to start from a snapshot that contains it.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn trim(&self, position: u64) -> Result<(), ReplicaError> {
        self.0.connection.trim(position).await
    }

    async fn poll_head(&self) {
        while self.is_alive() {
            if let Ok(Ok(head)) = timeout(HEAD_POLL_INTERVAL, self.0.connection.head()).await {
                self.note_head(head);
            }
            sleep(HEAD_POLL_INTERVAL).await;
        }
    }

    fn note_head(&self, head: u64) {
        self.0.head.fetch_max(head, Ordering::Relaxed);
        self.0.head_known.store(true, Ordering::Release);
        *self.0.last_answer.lock() = Instant::now();
    }

    /// Appends a message and returns its position once the log has stored it. After a failure,
    /// sends the message again with the same id. The log drops it if it already has it.
    async fn publish(&self, id: Uuid, payload: bytes::Bytes) -> Result<u64, String> {
        let LogConnection {
            context, subject, ..
        } = &self.0.connection;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id.to_string().as_str());
        loop {
            let sent =
                context.publish_with_headers(subject.clone(), headers.clone(), payload.clone());
            let stored: Result<_, jetstream::context::PublishError> =
                async { sent.await?.await }.await;
            match stored {
                Ok(stored) => return Ok(stored.sequence),
                Err(error) if self.log_status().silence > REFUSE_WRITES_AFTER => {
                    return Err(error.to_string());
                }
                Err(error) => {
                    tracing::debug!(%id, %error, "sending a write to the log again");
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    async fn append(&self, write: Write) -> Result<Outcome, IndexError> {
        self.check()?;
        let id = Uuid::now_v7();
        let payload = message::encode(&write).map_err(|error| unavailable(&error.to_string()))?;
        let (answer, mut answered) = oneshot::channel();
        let waiting = WaitingCaller::new(self, id, answer);
        self.remember_own_write(id);
        let end = tokio::time::Instant::now() + APPEND_TIMEOUT;
        let mut publish = std::pin::pin!(self.publish(id, payload));
        let late = || unavailable("it did not answer in time; the write may still be applied");
        tokio::select! {
            // The write may be applied before the log acknowledges it, or without an
            // acknowledgement.
            done = &mut answered => return done.unwrap_or(Err(IndexError::Closed)),
            stored = timeout_at(end, &mut publish) => match stored {
                Ok(Ok(_)) => {}
                Ok(Err(reason)) => return Err(unavailable(&reason)),
                Err(_) => return Err(late()),
            },
        }
        let done = timeout_at(end, answered).await;
        drop(waiting);
        done.map_err(|_| late())?.unwrap_or(Err(IndexError::Closed))
    }

    /// Sends the outcome of a write to the caller that waits for it.
    fn answer(&self, id: Option<Uuid>, done: Result<Outcome, IndexError>) {
        let waiting = id.and_then(|id| {
            self.0.own_writes.lock().remove(&id);
            self.0.waiting.lock().remove(&id)
        });
        if let Some(answer) = waiting {
            let _ = answer.send(done);
        }
    }

    /// Remembers that a write was appended here. Once it is applied, this replica removes the
    /// originals that it makes unreferenced.
    fn remember_own_write(&self, id: Uuid) {
        let mut own = self.0.own_writes.lock();
        own.insert(id);
        // The oldest ones never reached the log.
        while own.len() > MAX_OWN_WRITES {
            own.pop_first();
        }
    }

    fn is_own_write(&self, id: Option<Uuid>) -> bool {
        id.is_some_and(|id| self.0.own_writes.lock().contains(&id))
    }
}

impl Log for Replica {
    fn check(&self) -> Result<(), IndexError> {
        if !self.is_alive() {
            return Err(IndexError::Closed);
        }
        if self.log_status().silence > REFUSE_WRITES_AFTER {
            Err(unavailable("this replica is cut off from it"))
        } else {
            Ok(())
        }
    }

    fn append(
        &self,
        write: Write,
    ) -> Pin<Box<dyn Future<Output = Result<Outcome, IndexError>> + Send + '_>> {
        Box::pin(self.append(write))
    }
}

fn unavailable(reason: &str) -> IndexError {
    IndexError::Log {
        reason: reason.to_owned(),
    }
}

/// A caller that waits for a write; dropped when it leaves.
struct WaitingCaller<'a> {
    replica: &'a Replica,
    id: Uuid,
}

impl<'a> WaitingCaller<'a> {
    fn new(replica: &'a Replica, id: Uuid, answer: Answer) -> Self {
        replica.0.waiting.lock().insert(id, answer);
        WaitingCaller { replica, id }
    }
}

impl Drop for WaitingCaller<'_> {
    fn drop(&mut self) {
        self.replica.0.waiting.lock().remove(&self.id);
    }
}
