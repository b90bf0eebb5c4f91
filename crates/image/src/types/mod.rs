//! Plain values that every other module of the crate uses.
//!
//! - `kind`: the format of a file
//! - `limits`: how large a picture may be
//! - `error`: why a file is refused
//! - `part`: a rectangle of a picture
//! - `input`: the square that a model reads
//! - `alpha`: how transparency affects colours

pub mod alpha;
pub mod error;
pub mod input;
pub mod kind;
pub mod limits;
pub mod part;
