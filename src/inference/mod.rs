//! TODO models

pub mod batch;
pub mod registry;
pub mod serving;
