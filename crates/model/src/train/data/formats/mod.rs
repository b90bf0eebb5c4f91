//! The formats of data sets.
//!
//! - `folder`, `archive`: class folders, on disk or in an archive
//! - `manifest`: CSV and JSON lines
//! - `tree`: the rules of `folder` and `archive` for files and classes

pub mod archive;
pub mod folder;
pub mod manifest;
pub mod tree;
