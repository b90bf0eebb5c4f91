//! The trained models of a service and their workers.
//!
//! - `registry`: the checkpoints in a folder
//! - `batch`: one model's queue and worker threads
//! - `serving`: the active and the standby model

pub mod batch;
pub mod registry;
pub mod serving;
