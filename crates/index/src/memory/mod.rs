//! The searchable directory in memory. Immutable: each commit makes a new one.
//!
//! - `directory/`: the sum of segments
//! - `segment`: the postings that commits added and removed
//! - `column`: codes or labels with their postings
//! - `probe/`: finding the codes within a radius
//! - `ball`: the images behind them, in order
//! - `find`: the images that meet a condition
//! - `one_by_one`: the nearest of a set of images
//! - `codes`: the codes of each image
//! - `image_set`: sets of images
//! - `passing`: what a filter lets through
//! - `selection`: a page of images, by distance
//! - `filter`: what filters let through
//! - `sketches/`: vectors, ranking and copies
//! - `code_set`: codes without a store

pub mod ball;
pub mod code_set;
pub mod codes;
pub mod column;
pub mod directory;
pub mod filter;
pub mod find;
pub mod image_set;
pub mod one_by_one;
pub mod passing;
pub mod probe;
pub mod segment;
pub mod selection;
pub mod sketches;
