//! Writing: one thread takes all queued writes and commits them as a group.
//!
//! - `writer`: the queue and the thread
//! - `group`: writes staged on top of each other
//! - `apply`: each kind of write
//! - `generations`: changes of generations
//! - `fields`: changes of fields
//! - `layout`: the generations and fields after a commit
//! - `pages`, `staged`: the pages that change
//! - `commit`: one batch, one flush
//! - `merge`: merging segments

pub mod apply;
pub mod commit;
pub mod fields;
pub mod generations;
pub mod group;
pub mod layout;
pub mod merge;
pub mod pages;
pub mod staged;
pub mod writer;
