//! TODO http::body

pub mod answer;
pub mod budget;
pub mod upload;
