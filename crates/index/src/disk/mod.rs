//! The layout of an index in sled. Only this folder uses sled.
//!
//! - `engine/`: opening sled, disk space, exchanging files
//! - `key`: the keys
//! - `page`, `sketch_page`, `row`: the values
//! - `state`: the summary of a commit
//! - `names`: numbers of labels, keywords and media types
//! - `originals`: unreferenced keys
//! - `generations`: generations of codes
//! - `fields`: declared fields and the pages of their values
//! - `position`: positions in a log, and the digest
//! - `schema`: the schema version
//! - `copy`: a store as a stream

pub mod copy;
pub mod engine;
pub mod fields;
pub mod generations;
pub mod key;
pub mod names;
pub mod originals;
pub mod page;
pub mod position;
pub mod row;
pub mod schema;
pub mod sketch_page;
pub mod state;
