//! The context of a running job: the gallery, the models, its folder, its progress, and the signal
//! to stop.

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

/// How often a job reports its progress.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of retries to read or write originals before the job fails, and the pause between
/// two: ten minutes in all.
const MAX_RETRIES: u32 = 300;
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// How often a job checks whether the writes before it are applied.
const POSITION_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The gallery, models, folder and stop signal of a running job.
pub(crate) struct Context {
    pub jobs: Jobs,
    pub id: Uuid,
    pub stop: watch::Receiver<Option<Stop>>,
    /// The job as it was last written. None if another worker writes it.
    pub job: Option<Mutex<Job>>,
}

impl Context {
    /// Returns a context for work on a job whose record another worker writes.
    pub fn without_record(jobs: &Jobs, id: Uuid) -> Self {
        Context {
            jobs: jobs.clone(),
            id,
            stop: watch::channel(None).1,
            job: None,
        }
    }

    /// Fails if the job must stop.
    pub fn check(&self) -> Result<(), JobError> {
        match *self.stop.borrow() {
            Some(Stop::Cancelled) => Err(JobError::Cancelled),
            Some(Stop::Lost) => Err(JobError::Lost),
            None => Ok(()),
        }
    }

    /// The progress that was last written, by an earlier run of the job too.
    pub async fn last_progress(&self) -> Progress {
        match &self.job {
            Some(job) => job.lock().await.progress.clone(),
            None => Progress::default(),
        }
    }

    /// Writes the job's progress. A job that resumes finds it as its [last
    /// progress](Self::last_progress).
    pub async fn save_progress(&self, progress: &Progress) -> Result<(), JobError> {
        if let Some(job) = &self.job {
            let mut job = job.lock().await;
            job.progress = progress.clone();
            self.store().write(&mut job).await?;
        }
        Ok(())
    }

    /// Writes the job's progress, and appends an event with it and the members of `more`. Ignores a
    /// temporary failure, because the next report replaces this one.
    pub async fn progress(&self, progress: &Progress, more: Value) -> Result<(), JobError> {
        if self.job.is_none() {
            return Ok(());
        }
        let mut event = json!(progress);
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        let written = async {
            self.save_progress(progress).await?;
            self.store().append(self.id, "progress", event).await?;
            Ok::<_, JobError>(())
        };
        match written.await {
            Err(error) if error.is_lost() => Err(JobError::Lost),
            Err(error) if error.is_temporary() => Ok(()),
            written => written,
        }
    }

    /// Retries an action for as long as it fails temporarily.
    pub async fn retry_while_unavailable<T, F: Future<Output = Result<T, JobError>>>(
        &self,
        mut act: impl FnMut() -> F,
    ) -> Result<T, JobError> {
        loop {
            match act().await {
                Err(error) if error.is_temporary() => self.wait_to_retry(&error).await?,
                done => return done,
            }
        }
    }

    /// Waits after a temporary failure. Fails if the job must stop.
    pub async fn wait_to_retry(&self, error: &JobError) -> Result<(), JobError> {
        tracing::warn!(id = %self.id, %error, "job cannot continue yet; retrying soon");
        tokio::time::sleep(RETRY_DELAY).await;
        self.check()
    }

    /// Retries an action while originals cannot be read or written, up to [`MAX_RETRIES`] times.
    pub async fn retry_originals<T, F: Future<Output = Result<T, JobError>>>(
        &self,
        mut act: impl FnMut() -> F,
    ) -> Result<T, JobError> {
        let mut tries = 0;
        loop {
            self.check()?;
            match act().await {
                Err(JobError::Gallery(GalleryError::Originals(source))) if tries < MAX_RETRIES => {
                    tracing::warn!(
                        id = %self.id, %source,
                        "originals cannot be read or written; retrying soon"
                    );
                }
                done => return done,
            }
            tries += 1;
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Waits until this replica has applied all writes before the creation of the job.
    pub async fn wait_for_earlier_writes(&self) -> Result<(), JobError> {
        let position = match &self.job {
            Some(job) => job.lock().await.position,
            None => None,
        };
        while self.gallery().index().position()? < position {
            self.check()?;
            tokio::time::sleep(POSITION_POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits until the job must stop, and returns why.
    pub async fn stopped(&self) -> JobError {
        let mut stop = self.stop.clone();
        if stop.wait_for(Option::is_some).await.is_err() {
            // The sender is gone, so nothing can stop the job.
            std::future::pending::<()>().await;
        }
        self.check().err().unwrap_or(JobError::Cancelled)
    }

    /// Reads an original, or returns the reason why it is unreadable.
    ///
    /// # Errors
    /// [`JobError`] if originals cannot be read at all for ten minutes.
    pub async fn original(
        &self,
        id: &ImageId,
        original: Option<OriginalKey>,
        bytes: u64,
    ) -> Result<Result<Bytes, String>, JobError> {
        let read = || async { Ok(self.gallery().original_of(id, original, bytes).await?) };
        match self.retry_originals(read).await {
            Ok(Some(bytes)) => Ok(Ok(bytes)),
            Ok(None) => Ok(Err("it was replaced or deleted in the meantime".to_owned())),
            Err(JobError::Gallery(GalleryError::Index(source @ IndexError::Corrupt { .. }))) => {
                Ok(Err(source.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// The job's folder, which may not exist yet.
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
