//! TODO write

pub mod apply;
pub mod commit;
pub mod generations;
pub mod group;
pub mod merge;
pub mod pages;
pub mod staged;
pub mod writer;
