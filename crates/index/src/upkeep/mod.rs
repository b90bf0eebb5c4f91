//! TODO upkeep

pub mod compact;
