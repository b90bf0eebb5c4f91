//! Options for opening an index.

use std::{path::PathBuf, str::FromStr};

use uuid::Uuid;

use crate::code::Length;

/// Options for opening an index.
#[derive(Clone, Debug)]
pub struct IndexConfig {
    /// The data folder; it is created if it does not exist.
    pub path: PathBuf,
    /// The id of the model that makes the codes.
    pub model: Requirement,
    /// The numeric type in which the model makes codes.
    pub precision: Requirement,
    /// The lengths of the codes.
    pub lengths: Vec<Length>,
    /// The size of a sketch in bytes; `None` if the model makes no sketches.
    pub sketch: Option<usize>,
    /// Where sketches are kept while the index is open; `None` means in memory if they fit,
    /// otherwise on disk.
    pub sketch_storage: Option<SketchStorage>,
    /// The gallery whose log the index follows, if any.
    pub gallery: Option<LogOrigin>,
    /// The size of sled's page cache in bytes.
    pub cache_bytes: u64,
}

/// A gallery with a log. A new index starts at the beginning of the log. An existing store must
/// already follow this log, or be the store that the log began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOrigin {
    /// The id of the gallery's stores.
    pub id: Uuid,
    /// The [digest](crate::Index::digest) of the store that the log began with; `None` if it was a
    /// new store.
    pub began_with: Option<String>,
}

/// What the caller requires of the store's model or numeric type. The numeric type matters because
/// it changes a few bits of the codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Any other value is refused.
    Exact(String),
    /// Used for a new store; an existing store keeps its own.
    Preferred(String),
}

impl Requirement {
    pub(crate) fn into_exact(self) -> (bool, String) {
        match self {
            Requirement::Exact(text) => (true, text),
            Requirement::Preferred(text) => (false, text),
        }
    }
}

/// Where the sketches of an open index are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SketchStorage {
    /// In memory: about a hundred bytes per image.
    Memory,
    /// On disk only; each search reads them.
    Disk,
}

impl FromStr for SketchStorage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(SketchStorage::Memory),
            "disk" => Ok(SketchStorage::Disk),
            _ => Err("it must be memory or disk".to_owned()),
        }
    }
}
