//! The queue of jobs. `store` keeps their records and events · `runner` takes the next job and does
//! it.

pub mod runner;
pub mod store;
