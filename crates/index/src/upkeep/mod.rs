//! Upkeep of a store that is not in use: `compact` rewrites it without unused space.

pub mod compact;
