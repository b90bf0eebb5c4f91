//! Jobs: work that goes on beside the service, one at a time at each worker, by priority and age, kept through every crash.
//! Knows how a job is asked for, told of, cancelled and ended; what each kind does stands in a file below.

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
pub use learning::archive::MAX_BYTES as MAX_ARCHIVE_BYTES;
pub use learning::tuning::run as tune;
pub use options::{Activate, Adapt, Archive, FineTune, OptionError};
pub use queue::store::StoreError;
pub use record::{Event, Job, Progress, State, Task, Waiting};
pub use service::{Jobs, JobsConfig};
