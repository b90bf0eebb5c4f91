//! The runner: the next job's turn comes, it is done, and what became of it is written down.
//! Knows turns and ends; neither how a job is asked for nor how any kind is done.

use metrics::counter;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Context, Job, JobError, Jobs, State, Task, fine_tune, now_ms, reencode};
use crate::telemetry::JOBS_OVER;

impl Jobs {
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
        let ended = {
            let mut running = self.running();
            *running = None;
            self.get(id).and_then(|job| self.end(job, done))
        };
        let flushed = self.0.store.flush().await.map_err(JobError::from);
        match ended.and(flushed) {
            // Only now: a job whose end is not on disk goes on from its folder.
            Ok(()) => self.clear(id).await,
            Err(error) => {
                tracing::error!(%id, %error, "what became of a job could not be written")
            }
        }
    }

    /// Writes down what became of a job.
    pub(super) fn end(&self, mut job: Job, done: Result<Value, JobError>) -> Result<(), JobError> {
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
}
