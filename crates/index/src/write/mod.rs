//! Writing: one thread takes all waiting writes and commits them as a group.
//!
//! `writer` the queue and the thread · `group` writes staged over each other · `apply` each write of a log ·
//! `generations` changes of models · `pages`, `staged` the pages that change · `commit` one batch, one flush ·
//! `merge` of segments.

pub mod apply;
pub mod commit;
pub mod generations;
pub mod group;
pub mod merge;
pub mod pages;
pub mod staged;
pub mod writer;
