//! What a service keeps on disk or in a bucket.
//!
//! - `crashes`: kills and damaged files
//! - `exports`, `snapshots`: copying and restoring a gallery
//! - `full_disk`: a disk that is full, then has room
//! - `originals`: originals in folders and buckets
//! - `upgrades`: data folders of earlier versions, and compaction

mod crashes;
mod exports;
pub mod full_disk;
pub mod originals;
mod snapshots;
mod upgrades;
