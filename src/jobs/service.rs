//! The handle on the jobs: how one is found, listed, cancelled and forgotten.

use std::{fs, path::PathBuf, sync::Arc};

use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::index::Copies;
use crate::jobs::error::failed;
use crate::jobs::record::Task;
use crate::{
    gallery::Gallery,
    inference::serving::Serving,
    jobs::{
        error::JobError,
        queue::store::{Store, StoreError},
        record::{Event, Job, State, Waiting},
    },
    replica::{Claim, SharedRecords},
};

/// How jobs are run.
#[derive(Clone, Debug)]
pub struct JobsConfig {
    /// Where those that learn keep what they need; a folder each.
    pub folder: PathBuf,
    /// Threads of those that learn; as many as there are cores where it is not said.
    pub threads: Option<usize>,
    /// The share of a GPU's memory that one that learns may take.
    pub gpu_memory: f64,
}

/// A handle on the jobs, cheap to clone.
#[derive(Clone)]
pub struct Jobs(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) gallery: Gallery,
    pub(crate) serving: Serving,
    pub(crate) config: JobsConfig,
    pub(crate) duplicates: Mutex<CachedGroups>,
    /// The job under way here.
    pub(crate) running: Mutex<Option<Running>>,
}

pub(crate) struct Running {
    pub(crate) id: Uuid,
    /// Tells it to stop.
    pub(crate) stop: watch::Sender<Option<Stop>>,
    /// What keeps other workers from it, where there are any.
    pub(crate) claim: Option<Arc<Claim>>,
}

impl Jobs {
    /// The jobs of a store, or of a board that several services share; those that were under way when a service alone was last closed wait to
    /// go on.
    ///
    /// # Errors
    /// [`JobError::Store`], and [`JobError::File`] where what jobs left behind cannot be removed.
    pub async fn open(
        gallery: Gallery,
        serving: Serving,
        config: JobsConfig,
        board: Option<SharedRecords>,
    ) -> Result<Self, JobError> {
        fs::create_dir_all(&config.folder).map_err(|source| failed(&config.folder, source))?;
        let tree = gallery.index().tree("jobs");
        let jobs = Jobs(Arc::new(Shared {
            store: Store::new(tree, board),
            gallery,
            serving,
            config,
            duplicates: Mutex::default(),
            running: Mutex::default(),
        }));
        if !jobs.0.store.is_shared() {
            for mut job in jobs.0.store.unfinished()? {
                if job.state == State::Running {
                    job.resumed += 1;
                    job.state = State::Queued;
                    jobs.0.store.write(&mut job).await?;
                }
            }
        }
        jobs.tidy()?;
        Ok(jobs)
    }

    /// How many jobs are not over.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn waiting(&self) -> Result<Waiting, JobError> {
        let unfinished = self.read(Store::unfinished).await?;
        let of = |state| unfinished.iter().filter(|job| job.state == state).count();
        Ok(Waiting {
            queued: of(State::Queued),
            running: of(State::Running),
        })
    }

    /// Whether a job encodes with a model, or is about to.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn encodes(&self, id: &str) -> Result<bool, JobError> {
        let unfinished = self.read(Store::unfinished).await?;
        let encodes = |job: &Job| matches!(&job.task, Task::Reencode { model } if model == id);
        Ok(unfinished.iter().any(encodes))
    }

    /// A job.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::Store`].
    pub async fn get(&self, id: Uuid) -> Result<Job, JobError> {
        let found = self.read(move |store| store.get(id)).await?;
        found.ok_or(JobError::NoJob { id })
    }

    /// The same, also of a job that was asked for elsewhere a moment ago.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::Store`].
    pub async fn find(&self, id: Uuid) -> Result<Job, JobError> {
        let found = self.0.store.find(id).await?;
        found.ok_or(JobError::NoJob { id })
    }

    /// At most `limit` jobs, the newest first, before one of them or from the newest on.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn list(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Job>, JobError> {
        self.read(move |store| store.list(before, limit)).await
    }

    /// What happened to a job after an event's number.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn events(&self, id: Uuid, after: u32) -> Result<Vec<Event>, JobError> {
        self.read(move |store| store.events(id, after)).await
    }

    /// Reads of the store may wait for the disk or go through all jobs there ever were, so they leave the threads that serve.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, JobError> {
        let jobs = self.clone();
        let read = tokio::task::spawn_blocking(move || read(&jobs.0.store)).await;
        Ok(read.map_err(|_| JobError::Panicked)??)
    }

    /// Changes whenever anything happens to any job.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.store.changes()
    }

    /// Has a job stop: one that waits at once, one under way within its next step. One that is over stays as it is.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::Store`].
    pub async fn cancel(&self, id: Uuid) -> Result<Job, JobError> {
        {
            let running = self.0.running.lock().await;
            let job = self.get(id).await?;
            if job.state.is_over() {
                return Ok(job);
            }
            if let Some(running) = running.as_ref().filter(|running| running.id == id) {
                running.stop.send_replace(Some(Stop::Cancelled));
                return Ok(job);
            }
            let waits = job.state == State::Queued;
            if self.0.store.is_shared() {
                // Whoever has it by then sees that.
                self.0.store.ask_to_stop(id).await?;
            }
            if waits {
                match self.end(job, Err(JobError::Cancelled)).await {
                    Err(error) if error.is_lost() => return self.get(id).await,
                    ended => ended?,
                }
            }
        }
        self.0.store.flush().await?;
        let job = self.get(id).await?;
        if job.state.is_over() {
            self.clear_all(id).await;
        }
        Ok(job)
    }

    /// Forgets a job that is over.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::NotOver`], [`JobError::Store`].
    pub async fn remove(&self, id: Uuid) -> Result<(), JobError> {
        let job = self.get(id).await?;
        match job.state.is_over() {
            true => Ok(self.0.store.remove(id).await?),
            false => Err(JobError::NotOver {
                id,
                state: job.state,
            }),
        }
    }
}

/// Why a job is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It was told to.
    Cancelled,
    /// Another worker has it.
    Lost,
}

/// The groups that were found last, as far as they are known here, and the newest job that had succeeded when they were read.
pub(crate) type CachedGroups = Option<(Option<Uuid>, Option<Arc<Copies>>)>;
