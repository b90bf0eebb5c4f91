//! What callers ask of an index and what they are told: searches with their matches, listings that go on where they ended, figures.
//! Types only; knows nothing of how either is answered.

use std::{collections::BTreeMap, str::FromStr};

use serde::Serialize;

use crate::{
    code::{HashCode, Length},
    types::{
        error::{Damage, IndexError},
        record::Record,
        sketch::Sketch,
    },
};

/// What to look for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Near what.
    pub code: HashCode,
    /// Like what, where that is known.
    pub sketch: Option<Sketch>,
    /// How near, inclusive; at any distance where none is given.
    pub radius: Option<u32>,
    /// In which order.
    pub order: Order,
    /// How many matches to return at most.
    pub limit: usize,
    /// How many matches to pass over first.
    pub offset: usize,
    /// Only images that have any of these; all images where there are none.
    pub labels: Vec<String>,
    /// Among the codes of which generation; of the active one where none is named.
    pub generation: Option<u32>,
}

/// The order of answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// By distance, then code, then age.
    Distance,
    /// The nearest of the images by similarity, the most alike first, then by distance, code and age; those of them that have no sketch come
    /// after those with one. The other images follow by distance. Without a sketch to compare with all are by distance.
    Similarity {
        /// How many of the nearest, at least 1: where there are images of one distance on both sides of the cut, all of that distance, up to
        /// [`MOST`](Self::MOST). Where nothing is said, [`USUAL`](Self::USUAL), or all of up to [`ALL`](Self::ALL) images in memory.
        candidates: Option<usize>,
        /// Only those of them that are at least as similar, where given; no others follow.
        least: Option<f32>,
    },
}

impl Order {
    /// The most candidates.
    pub const MOST: usize = 10_000;
    /// How many there are if nothing is said.
    pub const USUAL: usize = 1_000;
    /// Up to so many images in memory all are candidates.
    pub const ALL: u64 = 20_000;
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many match, whatever the limit.
    pub total: u64,
    /// The matches asked for, in order.
    pub matches: Vec<Match>,
    /// Whether all images that are as near as the farthest candidate were candidates too; always, by distance.
    pub complete: bool,
}

/// An image found.
#[derive(Clone, Debug)]
pub struct Match {
    /// How far its code is from the query.
    pub distance: u32,
    /// How like the query it is, −1 to 1; none where one of them has no sketch.
    pub similarity: Option<f32>,
    /// Its code of the length searched by.
    pub code: HashCode,
    /// The image.
    pub record: Record,
}

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub(crate) u32);

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
    pub uncoded: u64,
    /// How many different codes of each length these have.
    pub distinct_codes: BTreeMap<Length, u64>,
    /// How many bytes of memory the directory of codes and the sketches take, the store's cache not counted.
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
    /// Whether the disk has no room for writes.
    pub disk_full: bool,
    /// How many messages of the log were broken and passed over.
    #[serde(skip)]
    pub log_broken: u64,
    /// How often sled was opened: once, and again after each write that failed.
    #[serde(skip)]
    pub opened: u64,
}
