//! What a job is given while it is under way: the gallery, the models, a folder, a way to say how far it is and to hear that it is to stop.
//! Knows nothing of what the job does with them.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::{
    gallery::{Gallery, GalleryError},
    index::{ImageId, IndexError, OriginalKey},
    inference::serving::Serving,
    jobs::{
        error::JobError,
        queue::store::Store,
        record::{Job, Progress},
        service::{Jobs, JobsConfig, Stop},
    },
};

/// How often it is told how far a job is.
pub(crate) const TOLD: Duration = Duration::from_secs(1);
/// How often the place of originals may fail before a job does, and how long to wait in between: ten minutes in all.
const TRIES: u32 = 300;
const AGAIN: Duration = Duration::from_secs(2);

/// What a kind of job is given: it says how far it is, and stops where it is told to.
pub(crate) struct Context {
    pub jobs: Jobs,
    pub id: Uuid,
    pub stop: watch::Receiver<Option<Stop>>,
    /// The job as it was last written; none where another worker tells of it.
    pub job: Option<Mutex<Job>>,
}

impl Context {
    /// For who works on a job that another worker tells of.
    pub fn of_other_worker(jobs: &Jobs, id: Uuid) -> Self {
        Context {
            jobs: jobs.clone(),
            id,
            stop: watch::channel(None).1,
            job: None,
        }
    }

    /// Fails once the job is to stop.
    pub fn check(&self) -> Result<(), JobError> {
        match *self.stop.borrow() {
            Some(Stop::Cancelled) => Err(JobError::Cancelled),
            Some(Stop::Lost) => Err(JobError::Lost),
            None => Ok(()),
        }
    }

    /// How far the job is, with what else is told of it. What cannot be told just now is told next time.
    pub async fn progress(&self, progress: &Progress, more: Value) -> Result<(), JobError> {
        let Some(job) = &self.job else {
            return Ok(());
        };
        let mut told = json!(progress);
        if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
            told.extend(more);
        }
        let mut job = job.lock().await;
        job.progress = progress.clone();
        let written = async {
            self.store().write(&mut job).await?;
            self.store().append(self.id, "progress", told).await
        };
        match written.await.map_err(JobError::from) {
            Err(error) if error.is_lost() => Err(JobError::Lost),
            Err(error) if error.passes() => Ok(()),
            written => written,
        }
    }

    /// Does something again for as long as what replicas share does not answer.
    pub async fn retry_while_unavailable<T, F: Future<Output = Result<T, JobError>>>(
        &self,
        mut act: impl FnMut() -> F,
    ) -> Result<T, JobError> {
        loop {
            match act().await {
                Err(error) if error.passes() => {
                    tracing::warn!(id = %self.id, %error, "tried again soon")
                }
                done => return done,
            }
            tokio::time::sleep(AGAIN).await;
            self.check()?;
        }
    }

    /// Does something again where the place of originals fails, a few times.
    pub async fn retry_originals<T, F: Future<Output = Result<T, JobError>>>(
        &self,
        mut act: impl FnMut() -> F,
    ) -> Result<T, JobError> {
        let mut tries = 0;
        loop {
            self.check()?;
            match act().await {
                Err(JobError::Gallery {
                    source: GalleryError::Originals { source },
                }) if tries < TRIES => tracing::warn!(%source, "tried again soon"),
                done => return done,
            }
            tries += 1;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Returns when the job is to stop, and why.
    pub async fn stopped(&self) -> JobError {
        let mut stop = self.stop.clone();
        if stop.wait_for(Option::is_some).await.is_err() {
            // Nobody is left who could say so.
            std::future::pending::<()>().await;
        }
        self.check().err().unwrap_or(JobError::Cancelled)
    }

    /// An original, or why it cannot be had. Where the place of originals fails for good, the job does.
    pub async fn original(
        &self,
        id: &ImageId,
        original: Option<OriginalKey>,
        bytes: u64,
    ) -> Result<Result<Bytes, String>, JobError> {
        let read = || async { Ok(self.gallery().original_of(id, original, bytes).await?) };
        match self.retry_originals(read).await {
            Ok(Some(bytes)) => Ok(Ok(bytes)),
            Ok(None) => Ok(Err("it was replaced or deleted meanwhile".to_owned())),
            Err(JobError::Gallery {
                source:
                    GalleryError::Index {
                        source: source @ IndexError::Corrupt { .. },
                    },
            }) => Ok(Err(source.to_string())),
            Err(error) => Err(error),
        }
    }

    /// The job's folder, made by whoever needs it.
    pub fn folder(&self) -> PathBuf {
        self.jobs.folder(self.id)
    }

    pub fn store(&self) -> &Store {
        &self.jobs.0.store
    }

    pub fn config(&self) -> &JobsConfig {
        &self.jobs.0.config
    }

    pub fn gallery(&self) -> &Gallery {
        &self.jobs.0.gallery
    }

    pub fn serving(&self) -> &Serving {
        &self.jobs.0.serving
    }
}
