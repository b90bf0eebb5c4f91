//! The SCIHCGRL model: networks, checkpoints, training and evaluation.

#![deny(missing_docs)]

pub mod copies;
pub mod eval;
pub mod model;
pub mod options;
pub mod train;
