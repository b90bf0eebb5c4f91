//! The formats of data sets.
//!
//! `folder` and `archive` of class folders · `manifest` CSV and JSON lines · `tree` the rules of
//! both for files and classes.

pub mod archive;
pub mod folder;
pub mod manifest;
pub mod tree;
