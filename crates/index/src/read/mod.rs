//! TODO read

pub mod listing;
pub mod reading;
