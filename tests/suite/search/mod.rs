//! Searches.
//!
//! - `boxes`: searching with a part of a picture
//! - `similarity`: order, similarity and relation of matches

mod boxes;
mod similarity;
