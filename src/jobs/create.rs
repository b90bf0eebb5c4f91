//! Creates jobs.

use std::path::Path;

use serde_json::Value;
use uuid::Uuid;

use crate::{
    index::{Field, FieldStatus},
    jobs::{
        context::Context,
        error::JobError,
        learning::service::archive::{self, ARCHIVE},
        queue::store::Store,
        record::{self, Job, Progress, State, Task},
        service::Jobs,
    },
};

/// A job to create.
#[derive(Debug)]
pub struct Submission<'a> {
    pub task: Task,
    pub priority: i32,
    /// Who starts it, if that is known.
    pub owner: Option<String>,
    /// The idempotency key.
    pub key: Option<&'a str>,
    /// The archive to learn from, at its [upload path](Jobs::upload_path).
    pub archive: Option<&'a Path>,
}

impl From<Task> for Submission<'_> {
    fn from(task: Task) -> Self {
        Submission {
            task,
            priority: 0,
            owner: None,
            key: None,
            archive: None,
        }
    }
}

/// The priority of the jobs that build fields: they are short, and filters wait for them.
const BUILD_PRIORITY: i32 = 1000;

impl Jobs {
    /// Creates a job and returns it with true. If the idempotency key has created a job before,
    /// returns that job with false. Moves an archive to learn from away from its upload path.
    ///
    /// # Errors
    /// [`JobError::OtherRequest`], [`JobError::Archive`], [`JobError::Disk`], [`JobError::Store`].
    pub async fn create(&self, submission: Submission<'_>) -> Result<(Job, bool), JobError> {
        let Submission {
            task,
            priority,
            owner,
            key,
            archive,
        } = submission;
        let id = Uuid::now_v7();
        let mut job = Job {
            id,
            task,
            state: State::Queued,
            priority,
            owner,
            created_at_ms: record::now_ms(),
            started_at_ms: None,
            finished_at_ms: None,
            resumed: 0,
            progress: Progress::default(),
            result: Value::Null,
            error: None,
            position: self.0.gallery.index().position()?,
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

    /// Returns the unfinished job that builds a field, or creates one. If services share jobs, one
    /// of them creates it, even if all try at the same time. Returns the last job if it has built
    /// the field in the meantime.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn build_field(&self, field: &Field) -> Result<Job, JobError> {
        let number = field.number;
        let builds = move |job: &Job| matches!(job.task, Task::BuildField { number: of, .. } if of == number);
        let mut latest = self.read(move |store| store.newest(builds)).await?;
        loop {
            let key = match latest {
                Some(job) if !job.state.is_over() || self.is_settled(&job, number)? => {
                    return Ok(job);
                }
                // No client can use such a key, because it has spaces.
                Some(job) => format!("field {number} after job {}", job.id),
                None => format!("field {number}"),
            };
            let task = Task::BuildField {
                field: field.path.clone(),
                number,
            };
            let submission = Submission {
                key: Some(&key),
                priority: BUILD_PRIORITY,
                ..task.into()
            };
            // An earlier job of this key may have ended, unknown to this service until now.
            latest = Some(self.create(submission).await?.0);
        }
    }

    /// Returns true if a job that has ended leaves nothing of a field to build, or if that is not
    /// known here yet.
    fn is_settled(&self, job: &Job, number: u32) -> Result<bool, JobError> {
        let index = self.0.gallery.index();
        let is_unbuilt =
            |status: &FieldStatus| status.field.number == number && !status.field.built;
        Ok(index.position()? < job.position || !index.fields().iter().any(is_unbuilt))
    }

    /// Returns the unfinished job of the same task, or creates one.
    ///
    /// # Errors
    /// [`JobError::Store`].
    pub async fn create_once(&self, task: Task) -> Result<Job, JobError> {
        let unfinished = self.read(Store::unfinished).await?;
        match unfinished.into_iter().find(|job| job.task == task) {
            Some(job) => Ok(job),
            None => Ok(self.create(task.into()).await?.0),
        }
    }
}
