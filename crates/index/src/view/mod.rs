//! TODO view

pub mod generations;
pub mod store;
