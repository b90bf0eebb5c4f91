//! Consistent reads next to a writer: `reading` assembles records and detects concurrent commits,
//! `listing` reads records in order of age.

pub mod listing;
pub mod reading;
