//! The one thread that writes: it takes all writes that wait, commits them as a group, then answers each.
//! Knows queues, threads and order; what a write does is the group's.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use tokio::sync::{Semaphore, oneshot};

use crate::priority::Rank;

use super::{
    error::IndexError,
    group::Group,
    merge::{self, Merger},
    names::Names,
    state::State,
    store::Store,
};

/// How many writes may wait before the next caller has to.
const QUEUE: usize = 2048;
/// How many writes one flush may carry.
const GROUP: usize = 1024;
/// How large the payloads of a group may grow; sled has readers wait while it copies them to its log.
const GROUP_BYTES: usize = 1 << 20;

/// A write: staged when its turn comes, answered when its group is committed.
type Job = Box<dyn FnOnce(&mut Group<'_>) -> Answer + Send>;
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
        let run = move || {
            Rank::Index.take();
            run(&store, state, &jobs, &merger);
        };
        let thread = thread::Builder::new()
            .name("index-writer".to_owned())
            .spawn(run)?;
        Ok(Writer {
            room: Arc::new(Semaphore::new(QUEUE)),
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

    /// The same, but returns when it is accepted: writes are done in the order in which they are. What came of it is told later.
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
            let staged = write(group);
            Box::new(move |committed| {
                drop(room);
                // The caller may have gone away; the write stands all the same.
                let _ = answer.send(staged.and_then(|done| match committed {
                    Ok(()) => Ok(done),
                    Err(source) => Err(IndexError::Write { source }),
                }));
            })
        });
        let sent = lock(&self.queue).as_ref().map(|queue| queue.send(job));
        if !matches!(sent, Some(Ok(()))) {
            return Err(IndexError::Closed);
        }
        Ok(answered)
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

fn run(store: &Store, mut state: State, jobs: &mpsc::Receiver<Job>, merger: &Merger) {
    let mut names = Names::new(state.names);
    while let Ok(first) = jobs.recv() {
        let mut group = Group::new(store, &mut names, state);
        let mut answers = vec![first(&mut group)];
        while answers.len() < GROUP
            && group.bytes() < GROUP_BYTES
            && !group.turns()
            && let Ok(job) = jobs.try_recv()
        {
            answers.push(job(&mut group));
        }
        let committed = group.commit().map_err(Arc::new);
        for answer in answers {
            answer(committed.as_ref().map(|_| ()).map_err(Arc::clone));
        }
        match committed {
            Ok(after) => state = after,
            // What a failed write left on disk is known only by opening it again.
            Err(error) => {
                tracing::error!(%error, "a write failed; the index accepts no more until it is opened again");
                return;
            }
        }
        names.committed();
        while store.merge(merge::small).is_some() {}
        merger.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
