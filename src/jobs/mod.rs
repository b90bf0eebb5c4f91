//! Jobs: work that goes on beside the service, one at a time at each worker, by priority and age, kept through every crash.
//! Knows how a job is asked for, told of, cancelled and ended; what each kind does stands in a file below.

mod context;
mod duplicates;
mod error;
mod folders;
mod handover;
mod learning;
mod options;
mod queue;
mod record;
mod reencode;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::{
    gallery::Gallery,
    inference::serving::Serving,
    jobs::learning::{archive, fine_tune},
    replica::{Board, Claim},
};
use context::{Context, Stop, TOLD};
use learning::archive::ARCHIVE;
use queue::store::Store;

pub use error::JobError;
pub use learning::archive::MAX_BYTES as MAX_ARCHIVE_BYTES;
pub use learning::tuning::run as tune;
pub use options::{Activate, Adapt, Archive, FineTune};
pub use queue::store::StoreError;
pub use record::{Event, Job, Progress, State, Task, Waiting};

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
pub struct Jobs(Arc<Shared>);

struct Shared {
    store: Store,
    gallery: Gallery,
    serving: Serving,
    config: JobsConfig,
    duplicates: Mutex<duplicates::Known>,
    /// The job under way here.
    running: Mutex<Option<Running>>,
}

struct Running {
    id: Uuid,
    /// Tells it to stop.
    stop: watch::Sender<Option<Stop>>,
    /// What keeps other workers from it, where there are any.
    claim: Option<Arc<Claim>>,
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
        board: Option<Board>,
    ) -> Result<Self, JobError> {
        fs::create_dir_all(&config.folder)
            .map_err(|source| fine_tune::failed(&config.folder, source))?;
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

    /// Has something done, and tells the job and whether it is new: a key that was given before names the job made then. An archive that
    /// is to be learned from is taken away from where it was [uploaded](Self::upload).
    ///
    /// # Errors
    /// [`JobError::OtherRequest`], [`JobError::Archive`], [`JobError::Disk`], [`JobError::Store`].
    pub async fn create(
        &self,
        task: Task,
        priority: i32,
        key: Option<&str>,
        archive: Option<&Path>,
    ) -> Result<(Job, bool), JobError> {
        let id = Uuid::now_v7();
        let mut job = Job {
            id,
            task,
            state: State::Queued,
            priority,
            created_at_ms: now_ms(),
            started_at_ms: None,
            finished_at_ms: None,
            resumed: 0,
            progress: Progress::default(),
            result: Value::Null,
            error: None,
            position: None,
            revision: 0,
        };
        let added = self.add(&mut job, key, archive).await;
        if !matches!(added, Ok(None)) || job.id != id {
            self.clear_all(id).await;
        }
        if let Some(earlier) = added? {
            return match earlier.task == job.task && earlier.priority == job.priority {
                true => Ok((earlier, false)),
                false => Err(JobError::OtherRequest { id: earlier.id }),
            };
        }
        self.0.store.flush().await?;
        Ok((job, true))
    }

    /// Adds a job once what it is to learn from is in its folder, or tells the one that its key was given with.
    async fn add(
        &self,
        job: &mut Job,
        key: Option<&str>,
        archive: Option<&Path>,
    ) -> Result<Option<Job>, JobError> {
        if let (Some(archive), Task::FineTune(options)) = (archive, &job.task) {
            let (archive, labels) = (archive.to_owned(), options.labels.clone());
            let folder = self.folder(job.id);
            let taken = move || archive::take(&archive, &folder, &labels);
            let taken = tokio::task::spawn_blocking(taken).await;
            taken.map_err(|_| JobError::Panicked)??;
            if self.0.store.is_shared() {
                let context = Context::of_other_worker(self, job.id);
                context.hand_over(ARCHIVE, &[ARCHIVE]).await?;
                // Whoever does the job fetches it.
                self.clear(job.id).await;
            }
        }
        Ok(self.0.store.add(job, key).await?)
    }

    /// The job that does this already or is about to, or a new one.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn create_once(&self, task: Task) -> Result<Job, JobError> {
        let unfinished = self.read(Store::unfinished).await?;
        match unfinished.into_iter().find(|job| job.task == task) {
            Some(job) => Ok(job),
            None => Ok(self.create(task, 0, None, None).await?.0),
        }
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
    async fn read<T: Send + 'static>(
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

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
