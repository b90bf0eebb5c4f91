//! What an index is opened with: where it lies, and which codes it has to hold.
//! Plain data; knows nothing of what is stored.

use std::{path::PathBuf, str::FromStr};

use uuid::Uuid;

use crate::code::Length;

/// Where an index lies and what it has to hold.
#[derive(Clone, Debug)]
pub struct IndexConfig {
    /// The folder, made if it is not there.
    pub path: PathBuf,
    /// The id of the checkpoint that makes the codes.
    pub model: Requirement,
    /// The numeric type that it makes them in.
    pub precision: Requirement,
    /// The lengths of its codes.
    pub lengths: Vec<Length>,
    /// How many bytes the sketch has that it makes beside them, if it makes any.
    pub sketch: Option<usize>,
    /// Where sketches are while the index is open; where memory has room for them if nothing is said.
    pub kept: Option<SketchStorage>,
    /// The gallery whose log the index follows, if it does.
    pub gallery: Option<LogOrigin>,
    /// How much memory sled may use to keep pages of the store.
    pub cache_bytes: u64,
}

/// A gallery with a log. A new index begins at the log's beginning; one that is there has to follow it already, or be what it began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOrigin {
    /// The id of its stores.
    pub id: Uuid,
    /// The [digest](crate::Index::digest) of the store that the log began with, where that was not a new one.
    pub began_with: Option<String>,
}

/// The model that makes codes, or the numeric type that it makes them in, which decides a bit here and there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// No other will do.
    Exact(String),
    /// This in a new store; one that is there keeps to its own.
    Preferred(String),
}

impl Requirement {
    pub(crate) fn split(self) -> (bool, String) {
        match self {
            Requirement::Exact(text) => (true, text),
            Requirement::Preferred(text) => (false, text),
        }
    }
}

/// Where the sketches of an open index are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SketchStorage {
    /// In memory: some hundred bytes an image.
    Memory,
    /// On disk alone, to be read for each search.
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
