//! Retrieval quality.
//!
//! - `quality`: all measures of one code length
//! - `ranking`: the ranking for one query
//! - `curve`: quality by radius, list length and class
//! - `codes`: entropies of codes
//! - `order`: ranks and thresholds of any scores
//! - `encode`: the codes of a data set
//! - `plot`: SVG pictures

mod codes;
mod curve;
pub mod encode;
pub mod order;
pub mod plot;
mod quality;
mod ranking;

#[cfg(test)]
mod tests;

pub use curve::{AtRadius, ClassQuality, PrecisionAt};
pub use quality::{Quality, quality, single_label};
pub use ranking::LabelledCode;
