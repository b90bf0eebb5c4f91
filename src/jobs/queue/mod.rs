//! The queue of jobs.
//!
//! - `store`: their records and events
//! - `runner`: runs the next job

pub mod runner;
pub mod store;
