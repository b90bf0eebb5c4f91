//! TODO memory

pub mod ball;
pub mod code_set;
pub mod column;
pub mod directory;
pub mod filter;
pub mod probe;
pub mod segment;
pub mod sketches;
