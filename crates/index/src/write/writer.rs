//! The one thread that writes: it takes all writes that wait, commits them as a group, then answers each. If the disk is full it refuses them;
//! if a write fails it has the store opened again. A store that follows a log waits instead, since it may pass over nothing.
//! Knows queues, threads and order; what a write does is the group's.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, oneshot};

use crate::{
    disk::{names::Names, state::State},
    priority::Rank,
    types::error::IndexError,
    view::store::Store,
    write::{
        commit::Commit,
        group::Group,
        merge::{self, Merger},
    },
};

/// How many writes may wait before the next caller has to.
const QUEUE: usize = 2048;
/// How many writes one flush may carry.
const GROUP: usize = 1024;
/// How large the payloads of a group may grow; sled has readers wait while it copies them to its log.
const GROUP_BYTES: usize = 1 << 20;

/// How long the writer waits before it tries again what failed.
const AGAIN: Duration = Duration::from_millis(250);
/// How often it is logged what a store waits for.
const REMIND: Duration = Duration::from_secs(60);

/// A write: staged when its turn comes, or refused without a group, and answered when its group is committed.
type Job = Box<dyn FnOnce(Option<&mut Group<'_>>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), Arc<IndexError>>) + Send>;

/// The handle of the thread. It stops it, after what it has accepted, when dropped.
pub struct Writer {
    room: Arc<Semaphore>,
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread, which goes on after the commits that `state` tells of.
    pub fn start(store: Arc<Store>, state: State) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel();
        let merger = Merger::start(store.clone())?;
        let room = Arc::new(Semaphore::new(QUEUE));
        let work = Work {
            names: Names::new(state.names),
            store,
            state,
            unfinished: None,
            room: room.clone(),
            tried: None,
            logged: None,
        };
        let run = move || {
            Rank::Index.take();
            work.run(&jobs, &merger);
        };
        let thread = thread::Builder::new()
            .name("index-writer".to_owned())
            .spawn(run)?;
        Ok(Writer {
            room,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Has a write done, and returns when it is durable. A caller that stops waiting does not undo it.
    pub async fn submit<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Group<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let answered = self.accept(write).await?;
        answered.await.unwrap_or(Err(IndexError::Closed))
    }

    /// The same, but returns when it is accepted: writes are done in the order in which they are. The receiver gets the result.
    pub async fn accept<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Group<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, IndexError>>, IndexError> {
        let room = self
            .room
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| IndexError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |group| {
            let staged = group.map(write);
            Box::new(move |committed| {
                drop(room);
                let done = match (staged, committed) {
                    (Some(Err(error)), _) => Err(error),
                    (Some(Ok(done)), Ok(())) => Ok(done),
                    (_, Err(source)) => Err(IndexError::Write { source }),
                    (None, Ok(())) => Err(IndexError::Closed),
                };
                // The caller may have gone away; the write stands all the same.
                let _ = answer.send(done);
            })
        });
        let sent = lock(&self.queue).as_ref().map(|queue| queue.send(job));
        if !matches!(sent, Some(Ok(()))) {
            return Err(IndexError::Closed);
        }
        Ok(answered)
    }

    /// Has it look whether the store has to be opened again.
    pub fn wake(&self) {
        let nothing: Job = Box::new(|_| Box::new(|_| ()));
        if let Some(queue) = lock(&self.queue).as_ref() {
            let _ = queue.send(nothing);
        }
    }

    /// Accepts no more, and returns when all that was accepted is committed. The queue is closed by dropping its only
    /// sender, which no one holds across an await, so this cannot wait on a caller that waits on this thread.
    pub fn close(&self) {
        self.room.close();
        lock(&self.queue).take();
        if let Some(thread) = lock(&self.thread).take()
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

/// What the thread goes on with.
struct Work {
    store: Arc<Store>,
    state: State,
    names: Names,
    /// A commit that failed and that readers may have seen.
    unfinished: Option<Commit>,
    /// Closed when no more is accepted.
    room: Arc<Semaphore>,
    /// When it was last tried to recover.
    tried: Option<Instant>,
    /// When it was last logged what is waited for.
    logged: Option<Instant>,
}

impl Work {
    fn run(mut self, jobs: &mpsc::Receiver<Job>, merger: &Merger) {
        loop {
            let first = match self.is_whole() {
                true => jobs.recv().map_err(Into::into),
                false => jobs.recv_timeout(AGAIN),
            };
            if matches!(first, Err(mpsc::RecvTimeoutError::Disconnected)) && self.is_whole() {
                return;
            }
            let first = first.ok();
            let closing = first.is_none() && self.room.is_closed();
            // Writes that come faster do not have it tried faster.
            let is_early = self.tried.is_some_and(|tried| tried.elapsed() < AGAIN);
            let may_refuse = !self.store.follows && !closing;
            let recovered = match !self.is_whole() && is_early && may_refuse {
                true => Err(IndexError::Reopening),
                false => self.recover(),
            };
            if let Err(error) = recovered {
                let is_lost = matches!(error, IndexError::Corrupt { .. });
                if let Some(job) = first {
                    job(None)(Err(Arc::new(error)));
                }
                if is_lost {
                    self.store.database().lose();
                    tracing::error!(
                        "the store lost commits that were acknowledged; it accepts no more writes"
                    );
                }
                // What comes after a write of a log may not be applied without it.
                if is_lost || closing || self.store.follows {
                    return;
                }
                continue;
            }
            if let Some(first) = first {
                let stored = self.group(first, jobs);
                if !stored && self.store.follows {
                    return;
                }
                while self.store.merge(merge::small).is_some() {}
                merger.wake();
            }
        }
    }

    /// Has a group written of what waits, and returns whether it is.
    fn group(&mut self, first: Job, jobs: &mpsc::Receiver<Job>) -> bool {
        let mut answers = Vec::new();
        let commit = match Group::new(&self.store, &mut self.names, self.state) {
            Ok(mut group) => {
                answers.push(first(Some(&mut group)));
                while answers.len() < GROUP
                    && group.bytes() < GROUP_BYTES
                    && !group.changes_generations()
                    && let Ok(job) = jobs.try_recv()
                {
                    answers.push(job(Some(&mut group)));
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
            // Some that were given are not stored.
            Err(_) => self.names = Names::new(self.state.names),
        }
        for answer in answers {
            answer(committed.clone());
        }
        committed.is_ok()
    }

    fn commit(&mut self, mut commit: Commit) -> Result<(), IndexError> {
        while let Err(error) = self.store.room.take(commit.bytes()) {
            self.wait(error)?;
        }
        match commit.write(&self.store) {
            Ok(after) => {
                self.state = after;
                Ok(())
            }
            Err(error) => {
                let error = self.store.room.explain(error);
                tracing::error!(%error, "a write failed; the store is opened again");
                self.store.database().fail();
                self.unfinished = Some(commit);
                self.recover()
            }
        }
    }

    /// Whether no write has failed, or all that did was mended.
    fn is_whole(&self) -> bool {
        self.unfinished.is_none() && !self.store.database().has_failed()
    }

    /// Opens the store again if a write has failed, and completes the commit that did.
    fn recover(&mut self) -> Result<(), IndexError> {
        while !self.is_whole() {
            self.tried = Some(Instant::now());
            match self.try_recover() {
                Ok(()) => {
                    self.store.database().settle();
                    tracing::info!("the store was opened again; writes go on");
                }
                Err(error) => {
                    let error = self.store.room.explain(error);
                    let is_waited_for = self.store.follows && self.unfinished.is_some();
                    let is_seen = self.unfinished.as_ref().is_some_and(Commit::is_published);
                    let is_lost = matches!(error, IndexError::Corrupt { .. });
                    let is_open = !self.store.database().has_failed();
                    if is_open && !is_waited_for && !is_seen && !is_lost {
                        // The commit is not stored. Its callers get the error.
                        self.unfinished = None;
                        self.store.database().settle();
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
            store.room.give_up_reserve();
            store.database().open_again()?;
        }
        if let Some(commit) = &mut self.unfinished {
            let resumed = commit.resume(store);
            if let Err(IndexError::Store { .. }) = &resumed {
                store.database().fail();
            }
            self.state = resumed?;
            self.names = Names::new(self.state.names);
            self.unfinished = None;
        }
        Ok(())
    }

    /// Waits if a store may pass over nothing and has not lost anything; otherwise returns the error.
    fn wait(&mut self, error: IndexError) -> Result<(), IndexError> {
        let is_lost = matches!(error, IndexError::Corrupt { .. });
        if !self.store.follows || is_lost || self.room.is_closed() {
            return Err(error);
        }
        if self.logged.is_none_or(|logged| logged.elapsed() >= REMIND) {
            tracing::warn!(%error, "the store waits where it is in the log");
            self.logged = Some(Instant::now());
        }
        thread::sleep(AGAIN);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
