//! TODO open

pub mod columns;
pub mod kept;
pub mod load;
pub mod part;
pub mod sketches;
pub mod verify;
