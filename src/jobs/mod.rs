//! Jobs: background work. Each worker runs one job at a time, by priority and then by age. A job
//! survives a crash.
//!
//! - `service`: the handle on the jobs
//! - `create`: new jobs
//! - `record`: a job as it is stored
//! - `options`: the options of fine-tuning and adaptation
//! - `queue`: the stored jobs and the loop that runs them
//! - `context`: the gallery, models and stop signal of a running job
//! - `workspace`: a job's folder and its handover to other workers
//! - `learning`, `reencode`, `duplicates`, `fields`, `by_filter`: the kinds of job
//! - `error`: why a job is refused or failed

mod by_filter;
mod context;
mod create;
mod duplicates;
mod error;
mod fields;
mod learning;
mod options;
mod queue;
mod record;
mod reencode;
mod service;
mod workspace;

pub use create::Submission;
pub use error::JobError;
pub use learning::process::run as run_learning_process;
pub use learning::service::archive::MAX_BYTES as MAX_ARCHIVE_BYTES;
pub use options::{Activate, Adapt, Archive, ChangeImages, DeleteImages, FineTune};
pub use queue::store::StoreError;
pub use record::{Event, FilteredImages, Job, Progress, State, Task, UnfinishedJobs};
pub use service::{Jobs, JobsConfig};
