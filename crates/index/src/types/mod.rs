//! Plain values, without disk or threads.
//!
//! `id` of images and originals · `record` an image · `sketch` · `generation` · `query` and its answers ·
//! `revision` and preconditions · `write` what a log holds · `config` how an index is opened · `error`.

pub mod config;
pub mod error;
pub mod generation;
pub mod id;
pub mod query;
pub mod record;
pub mod revision;
pub mod sketch;
pub mod write;
