//! TODO disk

pub mod engine;
pub mod key;
pub mod names;
pub mod originals;
pub mod page;
pub mod pages;
pub mod position;
pub mod schema;
pub mod sketch_page;
pub mod state;
