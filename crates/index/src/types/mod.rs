//! Plain values: no disk, no threads.
//!
//! - `id`: image ids and original keys
//! - `record`: an image
//! - `field`: members of payloads that filters can test
//! - `filter/`: the filter language
//! - `sketch`: sketches
//! - `generation`: generations of codes
//! - `query`: queries and their results
//! - `revision`: revisions and preconditions
//! - `write`: writes as a log stores them
//! - `config`: options for opening an index
//! - `error`: what can go wrong

pub mod config;
pub mod error;
pub mod field;
pub mod filter;
pub mod generation;
pub mod id;
pub mod query;
pub mod record;
pub mod revision;
pub mod sketch;
pub mod write;
