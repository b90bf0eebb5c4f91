//! Consistent reads next to a writer: `reading` puts records together and notices a commit that came between,
//! `listing` reads them in order of age.

pub mod listing;
pub mod reading;
