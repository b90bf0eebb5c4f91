//! The handle on the jobs: finds, lists, cancels and removes them.

use std::{fs, path::PathBuf, sync::Arc};

use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::{
    gallery::Gallery,
    index::{Copies, Filter},
    inference::serving::Serving,
    jobs::{
        error::{JobError, failed},
        queue::store::{Store, StoreError},
        record::{Event, Job, State, Task, UnfinishedJobs},
    },
    replica::{Claim, SharedRecords},
};

#[derive(Clone, Debug)]
pub struct JobsConfig {
    /// The parent of the jobs' folders.
    pub folder: PathBuf,
    /// Number of threads of a learning process. By default one per core.
    pub threads: Option<usize>,
    /// The share of a GPU's memory that a learning process may use.
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
    pub(crate) filtered_duplicates: Mutex<Option<FilteredGroups>>,
    /// The job that runs here.
    pub(crate) running: Mutex<Option<Running>>,
}

pub(crate) struct Running {
    pub(crate) id: Uuid,
    /// The signal to stop.
    pub(crate) stop: watch::Sender<Option<Stop>>,
    /// None for a service alone.
    pub(crate) claim: Option<Arc<Claim>>,
}

impl Jobs {
    /// Opens the jobs of a gallery, or those in the shared records. Without shared records, queues
    /// the jobs again that ran when the service was last stopped.
    ///
    /// # Errors
    /// [`JobError::Store`]; [`JobError::File`] if leftovers of jobs cannot be removed.
    pub async fn open(
        gallery: Gallery,
        serving: Serving,
        config: JobsConfig,
        records: Option<SharedRecords>,
    ) -> Result<Self, JobError> {
        fs::create_dir_all(&config.folder).map_err(|source| failed(&config.folder, source))?;
        let tree = gallery.index().tree("jobs");
        let jobs = Jobs(Arc::new(Shared {
            store: Store::new(tree, records),
            gallery,
            serving,
            config,
            duplicates: Mutex::default(),
            filtered_duplicates: Mutex::default(),
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
        jobs.remove_leftovers()?;
        Ok(jobs)
    }

    /// Counts the unfinished jobs.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn count_unfinished(&self) -> Result<UnfinishedJobs, JobError> {
        let unfinished = self.read(Store::unfinished).await?;
        let count = |state| unfinished.iter().filter(|job| job.state == state).count();
        Ok(UnfinishedJobs {
            queued: count(State::Queued),
            running: count(State::Running),
        })
    }

    /// Returns true if an unfinished job encodes with a model.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn is_reencoding_with(&self, id: &str) -> Result<bool, JobError> {
        let unfinished = self.read(Store::unfinished).await?;
        let matches = |job: &Job| matches!(&job.task, Task::Reencode { model } if model == id);
        Ok(unfinished.iter().any(matches))
    }

    /// Returns a job.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::Store`].
    pub async fn get(&self, id: Uuid) -> Result<Job, JobError> {
        let found = self.read(move |store| store.get(id)).await?;
        found.ok_or(JobError::NoJob { id })
    }

    /// Returns a job, even one that another service has just created.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::Store`].
    pub async fn find(&self, id: Uuid) -> Result<Job, JobError> {
        let found = self.0.store.find(id).await?;
        found.ok_or(JobError::NoJob { id })
    }

    /// Returns at most `limit` jobs, newest first: those created before a job, or the newest of
    /// all.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn list(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Job>, JobError> {
        self.read(move |store| store.list(before, limit)).await
    }

    /// Returns the events of a job after the event with a given number.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn events(&self, id: Uuid, after: u32) -> Result<Vec<Event>, JobError> {
        self.read(move |store| store.events(id, after)).await
    }

    /// Reads the store on a blocking thread: a read may wait for the disk or go through all jobs.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, JobError> {
        let jobs = self.clone();
        let read = tokio::task::spawn_blocking(move || read(&jobs.0.store)).await;
        Ok(read.map_err(|_| JobError::Panicked)??)
    }

    /// Returns a receiver that sees a change whenever any job changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.store.changes()
    }

    /// Cancels a job: a queued one at once, a running one within its next step. A job that has
    /// ended stays as it is.
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
            let is_queued = job.state == State::Queued;
            if self.0.store.is_shared() {
                // If a worker has claimed the job in the meantime, it sees this.
                self.0.store.ask_to_stop(id).await?;
            }
            if is_queued {
                match self.finish(job, Err(JobError::Cancelled)).await {
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

    /// Removes a job that has ended.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::NotOver`], [`JobError::Store`].
    pub async fn remove(&self, id: Uuid) -> Result<(), JobError> {
        let job = self.get(id).await?;
        if job.state.is_over() {
            Ok(self.0.store.remove(id).await?)
        } else {
            Err(JobError::NotOver {
                id,
                state: job.state,
            })
        }
    }
}

/// Why a job must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    /// Another worker has claimed it.
    Lost,
}

/// The newest successful job, and the groups of copies read for it. None if they were not read yet.
pub(crate) type CachedGroups = Option<(Option<Uuid>, Option<Arc<Copies>>)>;

/// The groups of copies among the images that passed a filter at a commit.
pub(crate) struct FilteredGroups {
    pub(crate) all: Arc<Copies>,
    pub(crate) commit: u64,
    pub(crate) filter: Filter,
    pub(crate) among: Arc<Copies>,
}
