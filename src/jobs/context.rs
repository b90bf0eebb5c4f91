//! What a job is given while it is under way: the gallery, the models, a folder, a way to say how far it is and to hear that it is to stop.
//! Knows nothing of what the job does with them.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::{JobError, Jobs, JobsConfig, Progress};
use crate::{
    gallery::{Gallery, GalleryError},
    index::{ImageId, IndexError, Original},
    serving::Serving,
};

/// How often it is told how far a job is.
pub(super) const TOLD: Duration = Duration::from_secs(1);
/// How often the place of originals may fail before a job does, and how long to wait in between.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_secs(2);

/// What a kind of job is given: it says how far it is, and stops where it is told to.
pub(super) struct Context {
    pub jobs: Jobs,
    pub id: Uuid,
    pub cancelled: watch::Receiver<bool>,
}

impl Context {
    /// Fails once the job is to stop.
    pub fn check(&self) -> Result<(), JobError> {
        match *self.cancelled.borrow() {
            true => Err(JobError::Cancelled),
            false => Ok(()),
        }
    }

    /// How far the job is, with what else is told of it.
    pub fn progress(&self, progress: &Progress, more: Value) -> Result<(), JobError> {
        let mut job = self.jobs.get(self.id)?;
        job.progress = progress.clone();
        self.jobs.0.store.write(&job)?;
        let mut told = json!(progress);
        if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
            told.extend(more);
        }
        self.jobs.happened(self.id, "progress", told)
    }

    /// Returns when the job is to stop.
    pub async fn stopped(&self) {
        let mut cancelled = self.cancelled.clone();
        if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
            // Nobody is left who could say so.
            std::future::pending::<()>().await;
        }
    }

    /// An original, or why it cannot be had. Where the place of originals fails for good, the job does.
    pub async fn original(
        &self,
        id: &ImageId,
        original: Option<Original>,
        bytes: u64,
    ) -> Result<Result<Bytes, String>, JobError> {
        let mut tries = 0;
        loop {
            self.check()?;
            match self.gallery().original_of(id, original, bytes).await {
                Ok(Some(bytes)) => return Ok(Ok(bytes)),
                Ok(None) => return Ok(Err("it was replaced or deleted meanwhile".to_owned())),
                Err(GalleryError::Index {
                    source: source @ IndexError::Corrupt { .. },
                }) => return Ok(Err(source.to_string())),
                Err(GalleryError::Originals { source }) if tries < TRIES => {
                    tracing::warn!(%source, "tried again soon");
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The job's folder, made by whoever needs it.
    pub fn folder(&self) -> PathBuf {
        self.jobs.folder(self.id)
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
