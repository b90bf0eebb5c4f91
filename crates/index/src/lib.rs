//! An exact Hamming-radius index of hash codes, kept in sled.
//!
//! Images are stored with their codes, sketches, labels and payloads, and found again by code, label, id or age.
//! The crate knows neither the model that makes codes nor who asks. [`Index`] is a handle, cheap to clone and safe
//! to share between threads.
//!
//! ```text
//!                 api        one file a topic: what callers can ask of an Index
//!        ┌─────────┼─────────┐
//!      read      write     upkeep    consistent reads │ the one writer thread │ compaction
//!        │         │         │
//!        │        open       │       a store is read through and checked when it is opened
//!        └─────────┼─────────┘
//!                 view               what readers see of one moment
//!           ┌──────┴──────┐
//!        memory          disk        the searchable directory │ pages and keys in sled
//!           └──────┬──────┘
//!                types               plain values
//! ```
//!
//! Each room imports only from rooms below it; a test of the workspace holds that. [`code`] is the vocabulary of
//! codes, for every crate that speaks of them; [`priority`] ranks threads for the scheduler.
//!
//! A search goes `api::search` → `read::reading` (a consistent view) → `memory::directory` (the codes in reach) →
//! `disk::page` (the records of the matches). A write goes `api::images` → `write::writer` (the queue) →
//! `write::group` (staged pages) → `write::commit` (one batch and a flush).

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod api;
pub mod code;
mod disk;
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
    copies::{Copies, Group},
    generations::{GenerationStatus, Missing},
    snapshot::CopyPoint,
    stats::{CodeBucket, LabelCount, SharedCodes},
    tree::Tree,
};
pub use disk::{copy::restore, engine::room::is_full, position::LogPosition, schema::SCHEMA};
pub use memory::{
    code_set::CodeSet,
    sketches::{
        copies::{Groups, Search},
        set::SketchSet,
    },
};
pub use types::{
    config::{IndexConfig, LogOrigin, Requirement, SketchStorage},
    error::{Damage, IndexError},
    generation::Generation,
    id::{ImageId, InvalidId, OriginalKey, nfc},
    query::{Cursor, Facts, Found, Listing, Match, Order, Query},
    record::{Codes, ImportedImage, NewImage, Record, Times},
    revision::{Precondition, Revision, Revisions},
    sketch::Sketch,
    write::{Log, Outcome, Recoded, Write},
};
pub use upkeep::compact::compact;
