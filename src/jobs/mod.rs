//! Jobs: background work, one job at a time at each worker, by priority and age. Jobs survive
//! crashes.
//!
//! `service` the handle on the jobs · `create` new jobs · `record` a job as it is stored ·
//! `options` what fine-tuning and adaptation can be given · `queue` the stored jobs and the loop
//! that does them · `context` what a running job works with · `workspace` a job's folder, and
//! handover to other workers · `learning`, `reencode`, `duplicates` the kinds of job · `error` why
//! a job is refused or failed.

mod context;
mod create;
mod duplicates;
mod error;
mod learning;
mod options;
mod queue;
mod record;
mod reencode;
mod service;
mod workspace;

pub use error::JobError;
pub use learning::process::run as run_learning_process;
pub use learning::service::archive::MAX_BYTES as MAX_ARCHIVE_BYTES;
pub use options::{Activate, Adapt, Archive, FineTune, OptionError};
pub use queue::store::StoreError;
pub use record::{Event, Job, Progress, State, Task, UnfinishedJobs};
pub use service::{Jobs, JobsConfig};
