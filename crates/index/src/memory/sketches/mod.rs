//! TODO memory::sketches

pub mod array;
pub mod copies;
pub mod rank;
pub mod tables;
