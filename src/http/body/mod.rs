//! Bodies of requests and answers.
//!
//! - `budget`: memory that bodies take
//! - `response`: memory that answers take until they are sent
//! - `upload`: bodies that are written to a file

pub mod budget;
pub mod response;
pub mod upload;

/// Maximum number of bytes of a body of JSON that has no image.
pub(crate) const MAX_JSON_BYTES: usize = 1 << 20;
