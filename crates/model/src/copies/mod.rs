//! Measures how well a model finds an image by a changed copy of it, and images of the same kind.
//!
//! - `measure`: all figures, and the thresholds of a card
//! - `kin`: the figures of kinds
//! - `encoded`: codes, sketches and features of the images
//! - `scores`: the scores of one query, and means

mod encoded;
mod kin;
mod measure;
mod scores;

pub use encoded::TestSet;
pub use measure::{mean_over_changes, measure};
