//! TODO http::body

pub mod answer;
pub mod budget;
pub mod upload;

/// The most bytes of a body of JSON that has no image.
pub(crate) const MAX_JSON_BYTES: usize = 1 << 20;
