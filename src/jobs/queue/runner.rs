//! The runner: the next job's turn comes, it is done, and what became of it is written down; where there are several services, whoever is free
//! takes it, or a range of one that encodes. Knows turns and ends; neither how a job is asked for nor how any kind is done.

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
        Task,
        context::Context,
        duplicates,
        error::JobError,
        learning::{adapt, fine_tune},
        queue::store::{Store, hold::Held},
        record::{Job, State, now_ms},
        reencode::{encode::GenerationEncoder, job},
        service::{Jobs, Running, Stop},
    },
    replica::{Claim, Replica, SharedRecords},
    telemetry::JOBS_OVER,
};

/// How often it is looked for work where others may have let go of some.
const LOOK: Duration = Duration::from_secs(1);
/// How long a job that another worker has may take until it stops here.
const PATIENCE: Duration = Duration::from_secs(10);

impl Jobs {
    /// Does what waits, one job after the other. It never ends by itself.
    pub async fn run(self) {
        let (mut changes, mut filling) = (self.changes(), None);
        loop {
            changes.mark_unchanged();
            let (idle, failed) = match self.go_on(&mut filling).await {
                Ok(worked) => (!worked, false),
                Err(error) if error.passes() || error.is_lost() => {
                    tracing::debug!(%error, "no job is begun just now");
                    (true, true)
                }
                Err(error) => {
                    tracing::error!(%error, "no job is begun any more");
                    return;
                }
            };
            if !idle {
                continue;
            }
            if self.0.store.is_shared() || failed {
                let _ = timeout(LOOK, changes.changed()).await;
                sleep(LOOK / 10).await;
            } else {
                let _ = changes.changed().await;
            }
        }
    }

    /// Copies what services write down together, for as long as that can be kept here.
    pub async fn follow(self, board: SharedRecords, replica: Replica) {
        loop {
            let followed = self.0.store.follow(&board, &replica).await;
            match followed.map_err(JobError::from) {
                Ok(never) => match never {},
                Err(error) if error.passes() => {
                    tracing::warn!(%error, "jobs of others are not known yet");
                    sleep(LOOK).await;
                }
                Err(error) => {
                    tracing::error!(%error, "what becomes of jobs is not known here any more");
                    return;
                }
            }
        }
    }

    /// Has others go on at once with what this service does.
    pub async fn leave(&self) {
        let running = self.0.running.lock().await.take();
        if let Some(claim) = running.and_then(|running| running.claim) {
            claim.release().await;
        }
    }

    /// Does the next thing there is to do, if there is one.
    async fn go_on(&self, filling: &mut Option<GenerationEncoder>) -> Result<bool, JobError> {
        match self.help(filling).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            // Others have that job.
            Err(error) => tracing::warn!(%error, "no range is encoded here just now"),
        }
        *filling = None;
        match self.begin().await? {
            Some((job, context, claim)) => self.perform(job, context, claim).await,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// The next job, marked as under way.
    async fn begin(&self) -> Result<Option<(Job, Context, Option<Arc<Claim>>)>, JobError> {
        let mut running = self.0.running.lock().await;
        let mut waiting = self.read(Store::unfinished).await?;
        // Of those equally urgent the oldest, and they come by age.
        waiting.sort_by_key(|job| std::cmp::Reverse(job.priority));
        for job in waiting {
            let Some(Held {
                what: mut job,
                claim,
            }) = self.0.store.hold(&job).await?
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
        tracing::info!(id = %job.id, task = ?job.task, resumed = job.resumed, "a job is begun");
        let id = job.id;
        let work = async {
            match &job.task {
                Task::FineTune(options) => fine_tune::run(&context, options).await,
                Task::Adapt(options) => adapt::run(&context, options).await,
                Task::Reencode { model } => job::run(&context, model).await,
                Task::FindDuplicates { model } => duplicates::run(&context, model).await,
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = self.attend(id, claim.as_deref()) => Err(JobError::Lost),
        };
        let ended = self.finish_claimed(&context, done, claim.as_deref()).await;
        *self.0.running.lock().await = None;
        if let Some(claim) = claim {
            claim.release().await;
        }
        let flushed = self.0.store.flush().await.map_err(JobError::from);
        match ended.and(flushed) {
            // Only now: a job whose end is not on disk goes on from its folder.
            Ok(()) => self.clear_all(id).await,
            Err(error) if error.is_lost() => {
                tracing::warn!(%id, "another worker has the job");
                self.clear(id).await;
            }
            Err(error) => {
                tracing::error!(%id, %error, "what became of a job could not be written")
            }
        }
    }

    /// Tells a job under way to stop where somebody asked another service for that; returns when another worker has it and it did not stop.
    async fn attend(&self, id: Uuid, claim: Option<&Claim>) {
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
                    // What it started has to end first, and that takes a step.
                    sleep(PATIENCE).await;
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

    /// Writes down what became of a job that was under way here, if it is still this worker's.
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
            match self.close(&mut job).await {
                Err(error) if error.passes() && !is_lost() => sleep(LOOK).await,
                closed => return closed,
            }
        }
    }

    /// Writes down what became of a job.
    pub(crate) async fn end(
        &self,
        mut job: Job,
        done: Result<Value, JobError>,
    ) -> Result<(), JobError> {
        mark_finished(&mut job, done);
        self.close(&mut job).await
    }

    async fn close(&self, job: &mut Job) -> Result<(), JobError> {
        job.position = self.0.gallery.index().position()?;
        self.0.store.write(job).await?;
        let told = json!({ "result": job.result, "error": job.error });
        self.0.store.append(job.id, job.state.name(), told).await?;
        tracing::info!(id = %job.id, state = job.state.name(), "a job is over");
        let labels = [("kind", job.task.kind()), ("state", job.state.name())];
        counter!(JOBS_OVER, &labels).increment(1);
        Ok(())
    }
}

/// Puts down what became of a job.
fn mark_finished(job: &mut Job, done: Result<Value, JobError>) {
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
}
