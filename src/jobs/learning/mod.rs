//! Jobs that train models: fine-tuning and adaptation. One half runs in the service, the other in a
//! child process, so that running out of memory ends only the process.
//!
//! - `service`: prepares, starts and follows the process
//! - `process`: measures and trains
//! - `protocol`: the files and lines that the two exchange

pub mod process;
mod protocol;
pub mod service;
