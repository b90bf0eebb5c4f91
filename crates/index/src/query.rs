//! What callers ask of an index and what they are told: searches with their matches, listings that go on where they ended, figures.
//! Types only; knows nothing of how either is answered.

use std::{collections::BTreeMap, str::FromStr};

use serde::Serialize;

use crate::code::{HashCode, Length};

use super::{damage::Damage, error::IndexError, record::Record};

/// What to look for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Near what.
    pub code: HashCode,
    /// How near, inclusive.
    pub radius: u32,
    /// How many matches to return at most.
    pub limit: usize,
    /// How many matches to pass over first.
    pub offset: usize,
    /// Only images that have any of these; all images where there are none.
    pub labels: Vec<String>,
    /// Among the codes of which generation; of the active one where none is named.
    pub generation: Option<u32>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many match, whatever the limit.
    pub total: u64,
    /// The matches asked for, by distance, then code, then age.
    pub matches: Vec<Match>,
}

/// An image found.
#[derive(Clone, Debug)]
pub struct Match {
    /// How far its code is from the query.
    pub distance: u32,
    /// Its code of the length searched by.
    pub code: HashCode,
    /// The image.
    pub record: Record,
}

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub(super) u32);

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl FromStr for Cursor {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Self, IndexError> {
        let found = || text.chars().take(40).collect();
        // As it is written, and so without a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        let number = number.ok_or_else(|| IndexError::Cursor { found: found() });
        number.map(Cursor)
    }
}

/// Some images, and where those after them begin.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The images, the oldest first.
    pub records: Vec<Record>,
    /// Where to go on; none after the last.
    pub next: Option<Cursor>,
    /// How many there are in all.
    pub total: u64,
}

/// Figures about an index.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// How many images it holds.
    pub images: u64,
    /// How many of these have no codes and are not found by searches, since their originals could not be read when codes were made.
    pub left_out: u64,
    /// How many different codes of each length these have.
    pub distinct_codes: BTreeMap<Length, u64>,
    /// How many bytes of memory the directory of codes takes, the store's cache not counted.
    pub memory_bytes: u64,
    /// What was found damaged when the index was opened. What it does not name is whole.
    pub damage: Vec<Damage>,
    /// The numeric type that codes are made in.
    pub precision: String,
    /// The number of the active generation.
    pub generation: u32,
    /// The version of the layout on disk.
    pub schema: u32,
    /// The size of the folder.
    pub disk_bytes: u64,
}
