//! Creates jobs.

use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use crate::jobs::{
    context::Context,
    error::JobError,
    learning::service::archive::{self, ARCHIVE},
    queue::store::Store,
    record::{self, Job, Progress, State, Task},
    service::Jobs,
};

impl Jobs {
    /// Creates a job and returns it with true. If the idempotency key has created a job before,
    /// returns that job with false. Moves an archive to learn from away from its [upload
    /// path](Self::upload_path).
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
            created_at_ms: record::now_ms(),
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
            return if earlier.task == job.task && earlier.priority == job.priority {
                Ok((earlier, false))
            } else {
                Err(JobError::OtherRequest { id: earlier.id })
            };
        }
        self.0.store.flush().await?;
        Ok((job, true))
    }

    /// Puts the archive into the job's folder and stores the job. Returns the earlier job of the
    /// key, if there is one.
    async fn add(
        &self,
        job: &mut Job,
        key: Option<&str>,
        archive: Option<&Path>,
    ) -> Result<Option<Job>, JobError> {
        if let (Some(archive), Task::FineTune(options)) = (archive, &job.task) {
            let (archive, labels) = (archive.to_owned(), options.labels.clone());
            let folder = self.folder(job.id);
            let taken = move || archive::take_upload(&archive, &folder, &labels);
            let taken = tokio::task::spawn_blocking(taken).await;
            taken.map_err(|_| JobError::Panicked)??;
            if self.0.store.is_shared() {
                let context = Context::without_record(self, job.id);
                context.hand_over(ARCHIVE, &[ARCHIVE]).await?;
                // The worker that runs the job fetches it.
                self.clear(job.id).await;
            }
        }
        Ok(self.0.store.add(job, key).await?)
    }

    /// Returns the unfinished job of the same task, or creates one.
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
}
