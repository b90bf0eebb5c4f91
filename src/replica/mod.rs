//! One replica of a gallery whose writes go through a log in NATS JetStream: each is appended there, and every replica applies all of them in
//! their order. Knows streams and positions; nothing of images, nor of who agrees on what the log says, which is the servers' work.

mod board;
mod error;
mod follower;
mod gallery;
mod message;
mod models;

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream};
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout, timeout_at},
};
use uuid::Uuid;

use crate::index::{Index, IndexError, Log, Outcome, Write};

pub use board::{Claim, RecordChange, SharedRecords, SharedRecordsError};
pub use error::ReplicaError;
pub use gallery::{GalleryManifest, LogConnection};

/// How long a write may take until it is in the log and applied here; a caller who gets no answer by then may ask again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many writes that were appended here are remembered until they are applied.
const OWN: usize = 1 << 16;
/// How long after a failure the log is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the end of the log is asked for.
const LOOK: Duration = Duration::from_secs(1);
/// For how long the log may not have answered until writes are refused at once, and until the replica is not ready.
const CUT_OFF: Duration = Duration::from_secs(3);
const NOT_READY: Duration = Duration::from_secs(15);
/// How many writes a replica may be behind and still be ready.
const BEHIND: u64 = 1000;

/// A handle on a replica, cheap to clone.
#[derive(Clone)]
pub struct Replica(Arc<Shared>);

struct Shared {
    place: LogConnection,
    /// Who waits here for what comes of a write, by the message's id.
    waiting: Mutex<HashMap<Uuid, Answer>>,
    /// The ids of writes that were appended here and are not applied yet, whether somebody still waits for them or not. They sort by age.
    own: Mutex<BTreeSet<Uuid>>,
    /// How much is applied here.
    applied: watch::Sender<u64>,
    /// The last position that the log is known to have.
    head: AtomicU64,
    /// Whether that was ever asked; until then nobody knows how far behind this is.
    met: AtomicBool,
    /// How often generations have changed, and once more while they do.
    generation_epoch: AtomicU64,
    /// When the log last answered.
    heard: Mutex<Instant>,
    /// Whether the store here accepts no more, so that only a restart helps.
    failed: AtomicBool,
    /// Whether a message of the log was broken and passed over.
    passed_over: AtomicBool,
}

type Answer = oneshot::Sender<Result<Outcome, IndexError>>;

/// Has the models be those of the generations, and tells whether they are.
pub type Turned = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// How a replica stands to the log.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The position up to which it is applied.
    pub position: u64,
    /// How many writes the log is known to have beyond that.
    pub lag: u64,
    /// How long ago the log answered.
    pub heard: Duration,
}

impl Replica {
    /// A replica of what is at a place, of an index that [follows](Index::follow) its log.
    ///
    /// # Errors
    /// [`ReplicaError::Index`].
    pub fn new(place: LogConnection, index: &Index) -> Result<Self, ReplicaError> {
        let position = index.position()?.unwrap_or_default();
        let replica = Replica(Arc::new(Shared {
            place,
            waiting: Mutex::default(),
            own: Mutex::default(),
            applied: watch::Sender::new(position),
            head: AtomicU64::new(position),
            met: AtomicBool::new(false),
            generation_epoch: AtomicU64::new(0),
            heard: Mutex::new(Instant::now()),
            failed: AtomicBool::new(false),
            passed_over: AtomicBool::new(false),
        }));
        index.follow(Arc::new(replica.clone()));
        Ok(replica)
    }

    /// Applies the log for as long as the index accepts writes, and looks after how far it goes. Whenever generations have changed, and at first,
    /// `turned` has the models changed likewise; until it has, nothing more is applied.
    pub async fn run(self, index: Index, turned: Turned) {
        tokio::join!(follower::follow(&self, &index, &turned), self.look());
    }

    /// How often generations have changed here.
    pub fn generation_epoch(&self) -> u64 {
        self.0.generation_epoch.load(Ordering::Acquire)
    }

    /// How it stands to the log.
    pub fn standing(&self) -> Standing {
        let position = *self.0.applied.borrow();
        Standing {
            position,
            lag: self.0.head.load(Ordering::Relaxed).saturating_sub(position),
            heard: lock(&self.0.heard).elapsed(),
        }
    }

    /// Whether searches here see nearly all that was written.
    pub fn is_ready(&self) -> bool {
        let Standing { lag, heard, .. } = self.standing();
        let met = self.0.met.load(Ordering::Acquire);
        met && lag <= BEHIND && heard < NOT_READY && self.is_alive()
    }

    /// Whether it goes on without a restart.
    pub fn is_alive(&self) -> bool {
        !self.0.failed.load(Ordering::Relaxed)
    }

    /// Whether it has passed over a broken message of the log since it was started.
    pub fn has_passed_over(&self) -> bool {
        self.0.passed_over.load(Ordering::Relaxed)
    }

    /// Returns when the log is applied here up to a position, or tells after a while that it is not.
    pub async fn reach(&self, position: u64, patience: Duration) -> bool {
        let mut applied = self.0.applied.subscribe();
        let reached = applied.wait_for(|applied| *applied >= position);
        matches!(timeout(patience, reached).await, Ok(Ok(_)))
    }

    /// Lets go of the log up to a position, which every replica has to have applied or to find in a snapshot.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn trim(&self, position: u64) -> Result<(), ReplicaError> {
        self.0.place.trim(position).await
    }

    /// Asks now and then how far the log goes.
    async fn look(&self) {
        while self.is_alive() {
            if let Ok(Ok(head)) = timeout(LOOK, self.0.place.head()).await {
                self.heard(head);
            }
            sleep(LOOK).await;
        }
    }

    fn heard(&self, head: u64) {
        self.0.head.fetch_max(head, Ordering::Relaxed);
        self.0.met.store(true, Ordering::Release);
        *lock(&self.0.heard) = Instant::now();
    }

    /// Appends a message and returns when the log has it for good; in trouble it is sent again under the same id, which the log drops if it
    /// has it already.
    async fn publish(&self, id: Uuid, payload: bytes::Bytes) -> Result<u64, String> {
        let LogConnection {
            context, subject, ..
        } = &self.0.place;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, id.to_string().as_str());
        loop {
            let sent =
                context.publish_with_headers(subject.clone(), headers.clone(), payload.clone());
            let stored: Result<_, jetstream::context::PublishError> =
                async { sent.await?.await }.await;
            match stored {
                Ok(stored) => return Ok(stored.sequence),
                Err(error) if self.standing().heard > CUT_OFF => return Err(error.to_string()),
                Err(error) => {
                    tracing::debug!(%id, %error, "appended again");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn append(&self, write: Write) -> Result<Outcome, IndexError> {
        self.check()?;
        let id = Uuid::now_v7();
        let payload = message::encode(&write).map_err(|error| unavailable(&error.to_string()))?;
        let (answer, mut answered) = oneshot::channel();
        let waiting = Waiting::new(self, id, answer);
        self.owns(id);
        let end = tokio::time::Instant::now() + PATIENCE;
        let mut publish = std::pin::pin!(self.publish(id, payload));
        let late = || unavailable("it did not answer in time; the write may be found done later");
        tokio::select! {
            // It may be applied before the log's own answer comes, or instead of that.
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

    /// Tells whoever waits for a write what came of it.
    fn answer(&self, id: Option<Uuid>, done: Result<Outcome, IndexError>) {
        let waiting = id.and_then(|id| {
            lock(&self.0.own).remove(&id);
            lock(&self.0.waiting).remove(&id)
        });
        if let Some(answer) = waiting {
            let _ = answer.send(done);
        }
    }

    /// Remembers that a write was appended here, so that what it lets go of is removed here once it is applied.
    fn owns(&self, id: Uuid) {
        let mut own = lock(&self.0.own);
        own.insert(id);
        // The oldest never came into the log.
        while own.len() > OWN {
            own.pop_first();
        }
    }

    fn is_own(&self, id: Option<Uuid>) -> bool {
        id.is_some_and(|id| lock(&self.0.own).contains(&id))
    }
}

impl Log for Replica {
    fn check(&self) -> Result<(), IndexError> {
        if !self.is_alive() {
            return Err(IndexError::Closed);
        }
        match self.standing().heard > CUT_OFF {
            true => Err(unavailable("this replica is cut off from it")),
            false => Ok(()),
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

/// Somebody who waits for a write, for as long as they do.
struct Waiting<'a> {
    replica: &'a Replica,
    id: Uuid,
}

impl<'a> Waiting<'a> {
    fn new(replica: &'a Replica, id: Uuid, answer: Answer) -> Self {
        lock(&replica.0.waiting).insert(id, answer);
        Waiting { replica, id }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.replica.0.waiting).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
