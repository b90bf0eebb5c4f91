//! TODO jobs::queue

pub mod runner;
pub mod store;
