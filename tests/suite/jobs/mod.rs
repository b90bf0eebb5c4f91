//! Jobs of one service. `crate::replicas::jobs` has those of several.
//!
//! - `duplicates`: finding groups of copies
//! - `learning`: fine-tuning and adapting

mod duplicates;
mod learning;
