//! The runner: claims the next job, runs it, and records its end. If services share jobs, an idle
//! worker also encodes ranges of other workers' jobs.

use std::{sync::Arc, time::Duration};

use metrics::counter;
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, watch},
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{
    jobs::{
        Task, by_filter,
        context::Context,
        duplicates,
        error::JobError,
        fields,
        learning::service::{adapt, fine_tune},
        queue::store::{Store, claim::Claimed},
        record::{Job, State, now_ms},
        reencode::{generation_encoder::GenerationEncoder, job},
        service::{Jobs, Running, Stop},
    },
    replica::{Claim, Replica, SharedRecords},
    telemetry::JOBS_FINISHED,
};

/// How often an idle worker looks for shared work. It must poll, because an expired claim changes
/// no record.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a job may take to stop after its claim is lost.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Jobs {
    /// Runs the queued jobs, one after the other. Returns only if the store fails.
    pub async fn run(self) {
        let (mut changes, mut encoder) = (self.changes(), None);
        loop {
            changes.mark_unchanged();
            let (idle, failed) = match self.try_next(&mut encoder).await {
                Ok(worked) => (!worked, false),
                Err(error) if error.is_temporary() || error.is_lost() => {
                    tracing::debug!(%error, "cannot start the next job yet; retrying soon");
                    (true, true)
                }
                Err(error) => {
                    tracing::error!(%error, "the store of jobs failed; this service starts no more jobs until it restarts");
                    return;
                }
            };
            if !idle {
                continue;
            }
            if self.0.store.is_shared() || failed {
                let _ = timeout(POLL_INTERVAL, changes.changed()).await;
                sleep(POLL_INTERVAL / 10).await;
            } else {
                let _ = changes.changed().await;
            }
        }
    }

    /// Copies the shared records until the store fails.
    pub async fn follow(self, records: SharedRecords, replica: Replica) {
        loop {
            let followed = self.0.store.follow(&records, &replica).await;
            match followed.map_err(JobError::from) {
                Ok(never) => match never {},
                Err(error) if error.is_temporary() => {
                    tracing::warn!(%error, "cannot read the shared records of jobs; retrying soon");
                    sleep(POLL_INTERVAL).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the store of jobs failed; stopped copying the shared records");
                    return;
                }
            }
        }
    }

    /// Releases this worker's claim, so that another worker can take the job at once.
    pub async fn release_claim(&self) {
        let running = self.0.running.lock().await.take();
        if let Some(claim) = running.and_then(|running| running.claim) {
            claim.release().await;
        }
    }

    /// Encodes a range for another worker's job, or runs the next job. Returns false if there is
    /// neither.
    async fn try_next(&self, encoder: &mut Option<GenerationEncoder>) -> Result<bool, JobError> {
        match self.encode_range_for_other_job(encoder).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            // Other workers can encode the range.
            Err(error) => {
                tracing::warn!(%error, "cannot encode ranges of other jobs; other workers can");
            }
        }
        *encoder = None;
        match self.claim_next().await? {
            Some((job, context, claim)) => Box::pin(self.perform(job, context, claim)).await,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Claims the next job and marks it as running.
    async fn claim_next(&self) -> Result<Option<(Job, Context, Option<Arc<Claim>>)>, JobError> {
        let mut running = self.0.running.lock().await;
        let mut waiting = self.read(Store::unfinished).await?;
        // Jobs are listed by age, and the sort is stable: the oldest of equal priority comes first.
        waiting.sort_by_key(|job| std::cmp::Reverse(job.priority));
        for job in waiting {
            let Some(Claimed {
                item: mut job,
                claim,
            }) = self.0.store.claim_job(&job).await?
            else {
                continue;
            };
            job.state = State::Running;
            job.started_at_ms.get_or_insert_with(now_ms);
            self.0.store.write(&mut job).await?;
            let resumed = json!({ "resumed": job.resumed });
            self.0.store.append(job.id, "running", resumed).await?;
            let (stop, stopped) = watch::channel(None);
            let claim = claim.map(Arc::new);
            *running = Some(Running {
                id: job.id,
                stop,
                claim: claim.clone(),
            });
            let context = Context {
                jobs: self.clone(),
                id: job.id,
                stop: stopped,
                job: Some(Mutex::new(job.clone())),
            };
            return Ok(Some((job, context, claim)));
        }
        Ok(None)
    }

    async fn perform(&self, job: Job, context: Context, claim: Option<Arc<Claim>>) {
        tracing::info!(id = %job.id, task = ?job.task, resumed = job.resumed, "job started");
        let id = job.id;
        let work = async {
            match &job.task {
                Task::FineTune(options) => fine_tune::run(&context, options).await,
                Task::Adapt(options) => adapt::run(&context, options).await,
                Task::Reencode { model } => job::run(&context, model).await,
                Task::FindDuplicates { model } => duplicates::run(&context, model).await,
                Task::BuildField { field, number } => fields::run(&context, field, *number).await,
                Task::DeleteImages(options) => by_filter::delete(&context, options).await,
                Task::ChangeImages(options) => by_filter::change(&context, options).await,
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = self.watch_for_stop(id, claim.as_deref()) => Err(JobError::Lost),
        };
        let ended = self.finish_claimed(&context, done, claim.as_deref()).await;
        *self.0.running.lock().await = None;
        if let Some(claim) = claim {
            claim.release().await;
        }
        let flushed = self.0.store.flush().await.map_err(JobError::from);
        match ended.and(flushed) {
            // Only now, because a job whose end is not on disk resumes from its folder.
            Ok(()) => self.clear_all(id).await,
            Err(error) if error.is_lost() => {
                tracing::warn!(%id, "lost the claim on the job; another worker continues it");
                self.clear(id).await;
            }
            Err(error) => {
                tracing::error!(%id, %error, "cannot record the end of the job");
            }
        }
    }

    /// Stops the running job if another service was asked to cancel it, or if its claim is lost.
    /// Returns only if the claim is lost and the job does not stop in time.
    async fn watch_for_stop(&self, id: Uuid, claim: Option<&Claim>) {
        let mut changes = self.changes();
        let lost = async {
            match claim {
                Some(claim) => claim.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(lost);
        loop {
            if self.0.store.is_to_stop(id).unwrap_or(false) {
                self.stop(Stop::Cancelled).await;
            }
            tokio::select! {
                () = &mut lost => {
                    self.stop(Stop::Lost).await;
                    // The job ends by itself within a step.
                    sleep(STOP_TIMEOUT).await;
                    return;
                }
                changed = changes.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    async fn stop(&self, why: Stop) {
        if let Some(running) = &*self.0.running.lock().await {
            running.stop.send_if_modified(|stop| {
                let first = stop.is_none() || why == Stop::Lost;
                if first {
                    *stop = Some(why);
                }
                first
            });
        }
    }

    /// Records the end of the job that ran here, unless its claim is lost.
    async fn finish_claimed(
        &self,
        context: &Context,
        done: Result<Value, JobError>,
        claim: Option<&Claim>,
    ) -> Result<(), JobError> {
        let is_lost = || claim.is_some_and(Claim::is_lost);
        let Some(job) = &context.job else {
            return Ok(());
        };
        if is_lost() || done.as_ref().is_err_and(JobError::is_lost) {
            return Err(JobError::Lost);
        }
        let mut job = job.lock().await;
        mark_finished(&mut job, done);
        loop {
            match self.write_end(&mut job).await {
                Err(error) if error.is_temporary() && !is_lost() => sleep(POLL_INTERVAL).await,
                written => return written,
            }
        }
    }

    /// Records the end of a job.
    pub(crate) async fn finish(
        &self,
        mut job: Job,
        done: Result<Value, JobError>,
    ) -> Result<(), JobError> {
        mark_finished(&mut job, done);
        self.write_end(&mut job).await
    }

    async fn write_end(&self, job: &mut Job) -> Result<(), JobError> {
        job.position = self.0.gallery.index().position()?;
        self.0.store.write(job).await?;
        let end = json!({ "result": job.result, "error": job.error });
        self.0.store.append(job.id, job.state.name(), end).await?;
        tracing::info!(id = %job.id, kind = job.task.kind(), state = job.state.name(), "job finished");
        let labels = [("kind", job.task.kind()), ("state", job.state.name())];
        counter!(JOBS_FINISHED, &labels).increment(1);
        Ok(())
    }
}

/// Sets a job's state and result.
fn mark_finished(job: &mut Job, done: Result<Value, JobError>) {
    job.finished_at_ms = Some(now_ms());
    job.state = match done {
        Ok(result) => {
            job.result = result;
            State::Succeeded
        }
        Err(JobError::Cancelled) => State::Cancelled,
        Err(error) => {
            tracing::error!(id = %job.id, error = ?error, "job failed: {error}");
            job.error = Some(error.to_string());
            State::Failed
        }
    };
    job.progress.eta_seconds = None;
}
