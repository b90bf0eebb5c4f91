//! Consistent reads next to a writer: `reading` assembles records and detects concurrent commits,
//! `listing` reads records in order of age and `ordered` in the order of a field's values,
//! `passing` finds the images that pass a filter.

pub mod listing;
pub mod ordered;
pub mod passing;
pub mod reading;
