//! The searchable directory in memory. Immutable: each commit makes a new one.
//!
//! - `directory/`: the sum of segments
//! - `segment`: the postings that commits added and removed
//! - `column`: codes or labels with their postings
//! - `probe/`: finding the codes within a radius
//! - `ball`: the images behind them, in order
//! - `filter`: filters by label
//! - `sketches/`: vectors, ranking and copies
//! - `code_set`: codes without a store

pub mod ball;
pub mod code_set;
pub mod column;
pub mod directory;
pub mod filter;
pub mod probe;
pub mod segment;
pub mod sketches;
