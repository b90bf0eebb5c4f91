//! An exact Hamming-radius index of hash codes, stored in sled.
//!
//! Stores images with their codes, sketches, labels and payloads, and finds them by code, label, id
//! or age. Does not know the model that makes the codes. [`Index`] is a handle: cheap to clone, and
//! safe to share between threads.
//!
//! ```text
//!                 api        the methods of Index, one file per topic
//!        ┌─────────┼─────────┐
//!      read      write     upkeep    consistent reads │ the one writer thread │ compaction
//!        │         │         │
//!        │        open       │       reads and checks a whole store when it is opened
//!        └─────────┼─────────┘
//!                 view               what readers see at one moment
//!           ┌──────┴──────┐
//!        memory          disk        the searchable directory │ pages and keys in sled
//!           └──────┬──────┘
//!                types               plain values
//! ```
//!
//! Each folder imports only from those below it; a test of the workspace checks this. [`code`]
//! defines hash codes for every crate that uses them. [`priority`] sets the priority of
//! threads, [`files`] replaces a file as a whole.
//!
//! A search runs through `api::search` → `read::reading` (a consistent view) → `memory::directory`
//! (the codes within the radius) → `disk::page` (the records of the matches). A write runs through
//! `api::images` → `write::writer` (the queue) → `write::group` (staged pages) → `write::commit`
//! (one batch and a flush).
//!
//! ```
//! use scihcgrl_index::{
//!     Codes, Index, IndexConfig, NewImage, Order, Query, Requirement,
//!     code::{HashCode, Length},
//! };
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let index = Index::open(IndexConfig {
//!     path: folder.path().to_owned(),
//!     model: Requirement::Exact("an example".to_owned()),
//!     precision: Requirement::Preferred("fp32".to_owned()),
//!     lengths: vec![Length::L24],
//!     sketch: None,
//!     sketch_storage: None,
//!     gallery: None,
//!     cache_bytes: 16 << 20,
//! })?;
//! let codes = Codes {
//!     generation: index.generations().active.number,
//!     codes: vec![HashCode::parse(Length::L24, "0000ff")?],
//!     sketch: None,
//! };
//! index
//!     .put(NewImage {
//!         id: "cat".parse()?,
//!         codes: vec![codes],
//!         labels: vec![],
//!         payload: None,
//!         media_type: "image/jpeg".to_owned(),
//!         bytes: 0,
//!         original: None,
//!         times: None,
//!     })
//!     .await?;
//! let found = index.search(&Query {
//!     code: HashCode::parse(Length::L24, "0000f0")?,
//!     sketch: None,
//!     radius: Some(4),
//!     order: Order::Distance,
//!     limit: 10,
//!     offset: 0,
//!     filter: None,
//!     generation: None,
//! })?;
//! assert_eq!(found.matches[0].record.id, "cat".parse()?);
//! assert_eq!(found.matches[0].distance, 4);
//! # Ok(())
//! # }
//! ```
//!
//! `examples/codes.rs` is a longer example, with labels.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod api;
pub mod code;
mod disk;
pub mod files;
mod memory;
mod open;
pub mod priority;
mod read;
mod types;
mod upkeep;
mod view;
mod write;

pub use api::{
    Index, RESTORING,
    copies::{Copies, CopyGroup},
    fields::FieldStatus,
    generations::{GenerationStatus, Missing},
    snapshot::CopyPoint,
    stats::{CodeBucket, LabelCount, SharedCodes},
    tree::Tree,
};
pub use disk::{copy::restore, engine::disk_space::is_full, position::LogPosition, schema::SCHEMA};
pub use memory::{
    code_set::{CodeSet, FieldValues, SetFilter},
    sketches::{
        copies::{CopySearch, FoundCopies, Groups},
        set::SketchSet,
    },
};
pub use types::{
    config::{IndexConfig, LogOrigin, Requirement, SketchStorage},
    error::{Damage, IndexError},
    field::{Field, FieldPath, FieldType, InvalidPath},
    filter::{Filter, error::FilterError},
    generation::Generation,
    id::{ImageId, InvalidId, OriginalKey, nfc},
    query::{Cursor, IndexStats, ListQuery, Listing, Match, Order, OrderBy, Query, SearchResult},
    record::{Codes, ImportedImage, NewImage, Record, Times},
    revision::{Precondition, Revision, Revisions},
    sketch::Sketch,
    write::{Log, Outcome, Recoded, Write},
};
pub use upkeep::compact::compact;
pub use write::group::merge_patch;
