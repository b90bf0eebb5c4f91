//! Upkeep of a store that nobody serves: `compact` makes it again without unused space.

pub mod compact;
