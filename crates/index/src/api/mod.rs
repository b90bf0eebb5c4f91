//! TODO api

pub mod copies;
pub mod generations;
pub mod originals;
pub mod overview;
pub mod replication;
pub mod search;
pub mod snapshot;
pub mod stats;
pub mod tree;
