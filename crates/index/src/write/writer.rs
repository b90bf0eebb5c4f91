//! The writer: one thread that takes all queued writes, commits them as a group, and answers each.
//! If the disk is full it refuses them; if a write fails it reopens the store. A store that follows
//! a log waits instead, since it must not skip a write.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::{
    disk::{names::Names, state::State},
    priority::Priority,
    types::error::IndexError,
    view::store::Store,
    write::{
        commit::Commit,
        group::Group,
        merge::{self, Merger},
    },
};

/// The number of writes that may be queued before callers wait.
const QUEUE_CAPACITY: usize = 2048;
/// Maximum number of writes in a group.
const MAX_GROUP_WRITES: usize = 1024;
/// The maximum size of a group's payloads in bytes. sled blocks readers while it copies them to its
/// log.
const MAX_GROUP_BYTES: usize = 1 << 20;

/// The time between attempts to recover.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// The time between log messages about a waiting store.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// A write in the queue: staged in a group, or refused without one, and answered after the commit
/// of the group.
type QueuedWrite = Box<dyn FnOnce(Option<&mut Group<'_>>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), Arc<IndexError>>) + Send>;

/// The handle of the thread. Dropping it stops the thread after the accepted writes.
pub struct Writer {
    permits: Arc<Semaphore>,
    queue: Mutex<Option<mpsc::Sender<QueuedWrite>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on top of the commits up to `state`.
    pub fn start(store: Arc<Store>, state: State) -> io::Result<Self> {
        let (queue, queued) = mpsc::channel();
        let merger = Merger::start(store.clone())?;
        let permits = Arc::new(Semaphore::new(QUEUE_CAPACITY));
        let work = WriterThread {
            names: Names::new(state.names),
            store,
            state,
            unfinished: None,
            permits: permits.clone(),
            last_attempt: None,
            logged: None,
        };
        let run = move || {
            Priority::Index.apply();
            work.run(&queued, &merger);
        };
        let thread = thread::Builder::new()
            .name("index-writer".to_owned())
            .spawn(run)?;
        Ok(Writer {
            permits,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a write and returns when it is durable. If the caller stops waiting, the write is
    /// still done.
    pub async fn submit<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Group<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let answered = self.accept(write).await?;
        answered.await.unwrap_or(Err(IndexError::Closed))
    }

    /// The same, but returns when the write is queued. Writes are done in the order in which they
    /// are queued. The receiver gets the result.
    pub async fn accept<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Group<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, IndexError>>, IndexError> {
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| IndexError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let write: QueuedWrite = Box::new(move |group| {
            let staged = group.map(write);
            Box::new(move |committed| {
                drop(permit);
                let done = match (staged, committed) {
                    (Some(Err(error)), _) => Err(error),
                    (Some(Ok(done)), Ok(())) => Ok(done),
                    (_, Err(source)) => Err(IndexError::Write { source }),
                    (None, Ok(())) => Err(IndexError::Closed),
                };
                // The caller may have stopped waiting. The write is done anyway.
                let _ = answer.send(done);
            })
        });
        let sent = self.queue.lock().as_ref().map(|queue| queue.send(write));
        if !matches!(sent, Some(Ok(()))) {
            return Err(IndexError::Closed);
        }
        Ok(answered)
    }

    /// Makes the thread check if the store must be reopened.
    pub fn wake(&self) {
        let nothing: QueuedWrite = Box::new(|_| Box::new(|_| ()));
        if let Some(queue) = self.queue.lock().as_ref() {
            let _ = queue.send(nothing);
        }
    }

    /// Stops accepting writes, and returns when all accepted ones are committed. The queue is
    /// closed by dropping its only sender. No one holds the sender across an await, so this cannot
    /// wait on a caller that waits on this thread.
    pub fn close(&self) {
        self.permits.close();
        self.queue.lock().take();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the index writer panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// The state of the thread.
struct WriterThread {
    store: Arc<Store>,
    state: State,
    names: Names,
    /// A commit that failed and that readers may have seen.
    unfinished: Option<Commit>,
    /// Closed when no more writes are accepted.
    permits: Arc<Semaphore>,
    /// The time of the last attempt to recover.
    last_attempt: Option<Instant>,
    /// The time of the last log message about waiting.
    logged: Option<Instant>,
}

/// What the thread does with the next write.
enum Next {
    Commit,
    Refuse(IndexError),
    /// Refuses it, and ends the thread.
    Stop(IndexError),
}

impl WriterThread {
    fn run(mut self, queued: &mpsc::Receiver<QueuedWrite>, merger: &Merger) {
        loop {
            let first = if self.is_whole() {
                queued.recv().map_err(Into::into)
            } else {
                queued.recv_timeout(RETRY_DELAY)
            };
            if matches!(first, Err(mpsc::RecvTimeoutError::Disconnected)) && self.is_whole() {
                return;
            }
            let first = first.ok();
            match (self.prepare(first.is_none()), first) {
                (Next::Commit, Some(first)) => {
                    let stored = self.commit_group(first, queued);
                    if !stored && self.store.follows {
                        return;
                    }
                    while self.store.merge(merge::small).is_some() {}
                    merger.wake();
                }
                (Next::Refuse(error), Some(first)) => first(None)(Err(Arc::new(error))),
                (Next::Commit | Next::Refuse(_), None) => {}
                (Next::Stop(error), first) => {
                    if let Some(first) = first {
                        first(None)(Err(Arc::new(error)));
                    }
                    return;
                }
            }
        }
    }

    /// Recovers from a failed write if there is one, and decides about the next write. `is_idle`
    /// says that none is queued.
    fn prepare(&mut self, is_idle: bool) -> Next {
        // Later writes of a log must not be applied without this one. When the index is closed,
        // this is the last attempt.
        let must_succeed = self.store.follows || (is_idle && self.permits.is_closed());
        // More writes do not make the attempts more frequent.
        let is_early = self
            .last_attempt
            .is_some_and(|at| at.elapsed() < RETRY_DELAY);
        if !self.is_whole() && is_early && !must_succeed {
            return Next::Refuse(IndexError::Reopening);
        }
        match self.recover() {
            Ok(()) => Next::Commit,
            Err(error @ IndexError::Corrupt { .. }) => {
                self.store.database().mark_lost();
                tracing::error!("the store lost acknowledged commits; it accepts no more writes");
                Next::Stop(error)
            }
            Err(error) if must_succeed => Next::Stop(error),
            Err(error) => Next::Refuse(error),
        }
    }

    /// Commits a group of the queued writes. Returns true if it is stored.
    fn commit_group(&mut self, first: QueuedWrite, queued: &mpsc::Receiver<QueuedWrite>) -> bool {
        let mut answers = Vec::new();
        let commit = match Group::new(&self.store, &mut self.names, self.state) {
            Ok(mut group) => {
                answers.push(first(Some(&mut group)));
                while answers.len() < MAX_GROUP_WRITES
                    && group.bytes() < MAX_GROUP_BYTES
                    && !group.changes_layout()
                    && let Ok(write) = queued.try_recv()
                {
                    answers.push(write(Some(&mut group)));
                }
                group.into_commit()
            }
            Err(error) => {
                answers.push(first(None));
                Err(error)
            }
        };
        let committed =
            commit.and_then(|commit| commit.map_or(Ok(()), |commit| self.commit(commit)));
        let committed = committed.map_err(Arc::new);
        match &committed {
            Ok(()) => self.names.committed(),
            // Some of the numbers given to names are not stored.
            Err(_) => self.names = Names::new(self.state.names),
        }
        for answer in answers {
            answer(committed.clone());
        }
        committed.is_ok()
    }

    fn commit(&mut self, mut commit: Commit) -> Result<(), IndexError> {
        while let Err(error) = self.store.disk_space.reserve(commit.bytes()) {
            self.wait(error)?;
        }
        match commit.write(&self.store) {
            Ok(after) => {
                self.state = after;
                Ok(())
            }
            Err(error) => {
                let error = self.store.disk_space.explain(error);
                tracing::error!(%error, "a write failed; reopening the store");
                self.store.database().mark_failed();
                self.unfinished = Some(commit);
                self.recover()
            }
        }
    }

    /// Returns true if no failed write is left to recover from.
    fn is_whole(&self) -> bool {
        self.unfinished.is_none() && !self.store.database().has_failed()
    }

    /// Reopens the store if a write has failed, and completes the failed commit.
    fn recover(&mut self) -> Result<(), IndexError> {
        while !self.is_whole() {
            self.last_attempt = Some(Instant::now());
            match self.try_recover() {
                Ok(()) => {
                    self.store.database().mark_consistent();
                    tracing::info!("the store is open again; writes resume");
                }
                Err(error) => {
                    let error = self.store.disk_space.explain(error);
                    let is_waited_for = self.store.follows && self.unfinished.is_some();
                    let is_seen = self.unfinished.as_ref().is_some_and(Commit::is_published);
                    let is_lost = matches!(error, IndexError::Corrupt { .. });
                    let is_open = !self.store.database().has_failed();
                    if is_open && !is_waited_for && !is_seen && !is_lost {
                        // The commit is not stored. Its callers get the error.
                        self.unfinished = None;
                        self.store.database().mark_consistent();
                    }
                    self.wait(error)?;
                }
            }
        }
        Ok(())
    }

    fn try_recover(&mut self) -> Result<(), IndexError> {
        let store = &self.store;
        if store.database().has_failed() {
            store.disk_space.release_reserve();
            store.database().reopen()?;
        }
        if let Some(commit) = &mut self.unfinished {
            let resumed = commit.resume(store);
            if let Err(IndexError::Store { .. }) = &resumed {
                store.database().mark_failed();
            }
            self.state = resumed?;
            self.names = Names::new(self.state.names);
            self.unfinished = None;
        }
        Ok(())
    }

    /// Waits if the store follows a log and has lost nothing; otherwise returns the error.
    fn wait(&mut self, error: IndexError) -> Result<(), IndexError> {
        let is_lost = matches!(error, IndexError::Corrupt { .. });
        if !self.store.follows || is_lost || self.permits.is_closed() {
            return Err(error);
        }
        if self
            .logged
            .is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL)
        {
            tracing::warn!(%error, "the store waits at its log position");
            self.logged = Some(Instant::now());
        }
        thread::sleep(RETRY_DELAY);
        Ok(())
    }
}
