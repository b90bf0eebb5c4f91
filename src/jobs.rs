//! Jobs: work that goes on beside the service, one at a time, by priority and age, kept through every crash.
//! Knows how a job is asked for, told of, cancelled and ended; what each kind does stands in a file below.

mod context;
mod error;
mod fine_tune;
mod options;
mod record;
mod reencode;
mod store;
mod tuning;

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use metrics::counter;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::{gallery::Gallery, serving::Serving, telemetry::JOBS_OVER};
use context::{Context, TOLD};
use store::Store;

pub use error::JobError;
pub use options::{Activate, FineTune};
pub use record::{Job, Progress, State, Task, Waiting};
pub use store::{Event, StoreError};
pub use tuning::run as tune;

/// How jobs are run.
#[derive(Clone, Debug)]
pub struct JobsConfig {
    /// Where those that learn keep what they need; a folder each.
    pub folder: PathBuf,
    /// Threads of those that learn; as many as there are cores where it is not said.
    pub threads: Option<usize>,
}

/// A handle on the jobs, cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

struct Shared {
    store: Store,
    gallery: Gallery,
    serving: Serving,
    config: JobsConfig,
    /// Counts what happened to any job, for those who follow one.
    changes: watch::Sender<u64>,
    /// That a job waits.
    waiting: Notify,
    /// The job under way, and what tells it to stop.
    running: Mutex<Option<(Uuid, watch::Sender<bool>)>>,
}

impl Jobs {
    /// The jobs of a store; those under way when it was last closed wait to go on.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn open(gallery: Gallery, serving: Serving, config: JobsConfig) -> Result<Self, JobError> {
        let tree = gallery.index().tree("jobs")?;
        let jobs = Jobs(Arc::new(Shared {
            store: Store::new(tree),
            gallery,
            serving,
            config,
            changes: watch::Sender::new(0),
            waiting: Notify::new(),
            running: Mutex::default(),
        }));
        for mut job in jobs.0.store.unfinished()? {
            if job.state == State::Running {
                job.resumed += 1;
                job.state = State::Queued;
                jobs.0.store.write(&job)?;
            }
        }
        Ok(jobs)
    }

    /// Has something done, and tells the job and whether it is new: a key that was given before names the job made then.
    ///
    /// # Errors
    /// [`JobError::OtherRequest`], [`JobError::Store`].
    pub async fn create(
        &self,
        task: Task,
        priority: i32,
        key: Option<&str>,
    ) -> Result<(Job, bool), JobError> {
        let job = Job {
            id: Uuid::now_v7(),
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
        };
        if let Some(earlier) = self.0.store.add(&job, key)? {
            return match earlier.task == job.task && earlier.priority == job.priority {
                true => Ok((earlier, false)),
                false => Err(JobError::OtherRequest { id: earlier.id }),
            };
        }
        self.happened(job.id, "queued", json!({}))?;
        self.0.store.flush().await?;
        self.0.waiting.notify_one();
        Ok((job, true))
    }

    /// The job that does this already or is about to, or a new one.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn create_once(&self, task: Task) -> Result<Job, JobError> {
        let unfinished = self.0.store.unfinished()?;
        match unfinished.into_iter().find(|job| job.task == task) {
            Some(job) => Ok(job),
            None => Ok(self.create(task, 0, None).await?.0),
        }
    }

    /// How many jobs are not over.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn waiting(&self) -> Result<Waiting, JobError> {
        let unfinished = self.0.store.unfinished()?;
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
    pub fn encodes(&self, id: &str) -> Result<bool, JobError> {
        let unfinished = self.0.store.unfinished()?;
        let encodes = |job: &Job| matches!(&job.task, Task::Reencode { model } if model == id);
        Ok(unfinished.iter().any(encodes))
    }

    /// A job.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::Store`].
    pub fn get(&self, id: Uuid) -> Result<Job, JobError> {
        self.0.store.get(id)?.ok_or(JobError::NoJob { id })
    }

    /// At most `limit` jobs, the newest first, before one of them or from the newest on.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn list(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Job>, JobError> {
        Ok(self.0.store.list(before, limit)?)
    }

    /// What happened to a job after an event's number.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub fn events(&self, id: Uuid, after: u32) -> Result<Vec<Event>, JobError> {
        Ok(self.0.store.events(id, after)?)
    }

    /// Changes whenever anything happens to any job.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Has a job stop: one that waits at once, one under way within its next step. One that is over stays as it is.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::Store`].
    pub async fn cancel(&self, id: Uuid) -> Result<Job, JobError> {
        {
            let running = self.running();
            if let Some((running, stop)) = &*running
                && *running == id
            {
                stop.send_replace(true);
                return self.get(id);
            }
            let job = self.get(id)?;
            if job.state.is_over() {
                return Ok(job);
            }
            self.end(job, Err(JobError::Cancelled))?;
        }
        self.0.store.flush().await?;
        self.get(id)
    }

    /// Forgets a job that is over.
    ///
    /// # Errors
    /// [`JobError::NoJob`], [`JobError::NotOver`], [`JobError::Store`].
    pub fn remove(&self, id: Uuid) -> Result<(), JobError> {
        let job = self.get(id)?;
        match job.state.is_over() {
            true => Ok(self.0.store.remove(id)?),
            false => Err(JobError::NotOver {
                id,
                state: job.state,
            }),
        }
    }

    /// Does what waits, one job after the other. It never ends by itself.
    pub async fn run(self) {
        loop {
            match self.begin() {
                Ok(Some((job, context))) => self.perform(job, context).await,
                Ok(None) => self.0.waiting.notified().await,
                Err(error) => {
                    tracing::error!(%error, "no job is begun any more");
                    return;
                }
            }
        }
    }

    /// The next job, marked as under way.
    fn begin(&self) -> Result<Option<(Job, Context)>, JobError> {
        let mut running = self.running();
        let waiting = self.0.store.unfinished()?;
        // Of those equally urgent the oldest, and they come by age.
        let next = waiting.into_iter().rev().max_by_key(|job| job.priority);
        let Some(mut job) = next else {
            return Ok(None);
        };
        let (stop, cancelled) = watch::channel(false);
        *running = Some((job.id, stop));
        job.state = State::Running;
        job.started_at_ms.get_or_insert_with(now_ms);
        self.0.store.write(&job)?;
        self.happened(job.id, "running", json!({ "resumed": job.resumed }))?;
        let context = Context {
            jobs: self.clone(),
            id: job.id,
            cancelled,
        };
        Ok(Some((job, context)))
    }

    async fn perform(&self, job: Job, context: Context) {
        tracing::info!(id = %job.id, task = ?job.task, resumed = job.resumed, "a job is begun");
        let id = job.id;
        let done = match &job.task {
            Task::FineTune(options) => fine_tune::run(&context, options).await,
            Task::Reencode { model } => reencode::run(&context, model).await,
        };
        // What it worked on; a job that is over needs it no more.
        if let Err(error) = fs::remove_dir_all(context.folder())
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%id, %error, "the folder of a job is left");
        }
        let ended = {
            let mut running = self.running();
            *running = None;
            self.get(id).and_then(|job| self.end(job, done))
        };
        let flushed = self.0.store.flush().await.map_err(JobError::from);
        if let Err(error) = ended.and(flushed) {
            tracing::error!(%id, %error, "what became of a job could not be written");
        }
    }

    /// Writes down what became of a job.
    fn end(&self, mut job: Job, done: Result<Value, JobError>) -> Result<(), JobError> {
        job.finished_at_ms = Some(now_ms());
        job.state = match done {
            Ok(result) => {
                job.result = result;
                State::Succeeded
            }
            Err(JobError::Cancelled) => State::Cancelled,
            Err(error) => {
                tracing::error!(id = %job.id, error = ?error, "a job failed: {error}");
                job.error = Some(error.to_string());
                State::Failed
            }
        };
        job.progress.eta_seconds = None;
        tracing::info!(id = %job.id, state = job.state.name(), "a job is over");
        let labels = [("kind", job.task.kind()), ("state", job.state.name())];
        counter!(JOBS_OVER, &labels).increment(1);
        self.0.store.write(&job)?;
        let told = json!({ "result": job.result, "error": job.error });
        self.happened(job.id, job.state.name(), told)
    }

    fn happened(&self, id: Uuid, what: &str, data: Value) -> Result<(), JobError> {
        self.0.store.append(id, what, now_ms(), data)?;
        self.0.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Option<(Uuid, watch::Sender<bool>)>> {
        let running = self.0.running.lock();
        running.unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
