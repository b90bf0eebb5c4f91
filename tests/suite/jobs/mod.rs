//! Jobs of one service. `crate::replicas::jobs` has those of several.
//!
//! - `duplicates`: finding groups of copies
//! - `filters`: building fields, deleting and changing images by a filter
//! - `learning`: fine-tuning and adapting

mod duplicates;
mod filters;
mod learning;
