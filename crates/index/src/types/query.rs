//! The types of queries and of their results: searches, listings and figures.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD};
use serde::Serialize;

use crate::{
    code::{HashCode, Length},
    types::{
        error::{Damage, IndexError},
        field::{FieldPath, InvalidPath},
        filter::Filter,
        record::Record,
        sketch::Sketch,
    },
};

/// A search.
#[derive(Clone, Debug)]
pub struct Query {
    /// The code to search near.
    pub code: HashCode,
    /// The sketch to compare with, if it is known.
    pub sketch: Option<Sketch>,
    /// The radius, inclusive; `None` means any distance.
    pub radius: Option<u32>,
    /// The order of the matches.
    pub order: Order,
    /// Maximum number of matches to return.
    pub limit: usize,
    /// The number of matches to skip.
    pub offset: usize,
    /// Searches only the images that pass it.
    pub filter: Option<Filter>,
    /// The generation to search; `None` means the active one.
    pub generation: Option<u32>,
}

/// The order of matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// By distance, then code, then age.
    Distance,
    /// First the candidates by similarity, then distance, code and age; candidates without a sketch
    /// come last. Then the other images by distance. Without a sketch in the query, all images are
    /// ordered by distance.
    Similarity {
        /// The number of candidates: the nearest images, at least 1. If the cut falls among images
        /// of one distance, all of that distance are candidates, up to
        /// [`MAX_CANDIDATES`](Self::MAX_CANDIDATES). `None` means
        /// [`DEFAULT_CANDIDATES`](Self::DEFAULT_CANDIDATES), or all images if there are at most
        /// [`ALL_CANDIDATES_UP_TO`](Self::ALL_CANDIDATES_UP_TO) and their sketches are in memory.
        candidates: Option<usize>,
        /// Returns only candidates with at least this similarity, and no other images.
        min_similarity: Option<f32>,
    },
}

impl Order {
    /// Maximum number of candidates.
    pub const MAX_CANDIDATES: usize = 10_000;
    /// The default number of candidates.
    pub const DEFAULT_CANDIDATES: usize = 1_000;
    /// Up to this number of images all are candidates, if their sketches are in memory.
    pub const ALL_CANDIDATES_UP_TO: u64 = 20_000;
}

/// The result of a search.
#[derive(Clone, Debug)]
pub struct SearchResult {
    /// The number of images that match, independent of the limit.
    pub total: u64,
    /// The requested matches, in order.
    pub matches: Vec<Match>,
    /// False if some images at the distance of the farthest candidate were not candidates; always
    /// true if ordered by distance.
    pub complete: bool,
}

/// An image that a search found.
#[derive(Clone, Debug)]
pub struct Match {
    /// The distance of its code to the query's.
    pub distance: u32,
    /// Its similarity to the query, −1 to 1; `None` if either has no sketch.
    pub similarity: Option<f32>,
    /// Its code of the query's length.
    pub code: HashCode,
    /// The record of the image.
    pub record: Record,
}

/// A request for a page of a listing. The default has no images, only their number.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Lists only the images that pass it.
    pub filter: Option<Filter>,
    /// The order; `None` means by age, the oldest first.
    pub order_by: Option<OrderBy>,
    /// Where the page starts; `None` means at the beginning.
    pub after: Option<Cursor>,
    /// Maximum number of images.
    pub limit: usize,
}

/// The order of a listing by the values of a field, then by age. Images without a value come last.
/// An image with several values counts with the first of them in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderBy {
    /// The path of the field.
    pub path: FieldPath,
    /// True for the greatest value first.
    pub is_descending: bool,
}

impl FromStr for OrderBy {
    type Err = InvalidPath;

    /// Parses the path of a field, after a minus sign for the greatest value first.
    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let descending = text.strip_prefix('-');
        Ok(OrderBy {
            path: descending.unwrap_or(text).parse()?,
            is_descending: descending.is_some(),
        })
    }
}

/// The position where a listing continues. Its text form is opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) key: SortKey,
    pub(crate) sequence: u32,
}

/// The place of an image in the order of a listing, before its age.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortKey {
    /// The listing is by age alone.
    Age,
    /// The word of a value.
    Word(u64),
    /// A keyword.
    Text(String),
    /// The image has no value.
    None,
}

impl Cursor {
    pub(crate) fn by_age(sequence: u32) -> Self {
        Cursor {
            key: SortKey::Age,
            sequence,
        }
    }

    /// The error for a listing of another order.
    pub(crate) fn of_another_order(&self) -> IndexError {
        IndexError::Cursor {
            found: self.to_string().chars().take(40).collect(),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            SortKey::Age => {}
            SortKey::Word(word) => write!(f, "{word}.")?,
            SortKey::Text(text) => write!(f, "~{}.", URL_SAFE_NO_PAD.encode(text))?,
            SortKey::None => write!(f, "-.")?,
        }
        write!(f, "{}", self.sequence)
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Cursor {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Self, IndexError> {
        let parse = || {
            let (key, sequence) = match text.rsplit_once('.') {
                None => (SortKey::Age, text),
                Some(("-", sequence)) => (SortKey::None, sequence),
                Some((key, sequence)) => match key.strip_prefix('~') {
                    Some(text) => {
                        let text = URL_SAFE_NO_PAD.decode(text).ok()?;
                        (SortKey::Text(String::from_utf8(text).ok()?), sequence)
                    }
                    None => (SortKey::Word(whole(key)?), sequence),
                },
            };
            Some(Cursor {
                key,
                sequence: whole(sequence)?,
            })
        };
        parse().ok_or_else(|| IndexError::Cursor {
            found: text.chars().take(40).collect(),
        })
    }
}

/// Parses a whole number. `parse` alone would accept a leading sign.
fn whole<T: FromStr>(text: &str) -> Option<T> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The images, in order.
    pub records: Vec<Record>,
    /// Where the next page starts; `None` after the last image.
    pub next: Option<Cursor>,
    /// The number of images in the whole listing.
    pub total: u64,
}

/// Figures about an index.
#[derive(Clone, Debug, Serialize)]
pub struct IndexStats {
    /// The number of images.
    pub images: u64,
    /// The number of uncoded images: their originals could not be read when codes were made, and no
    /// search finds them.
    pub uncoded: u64,
    /// The number of distinct codes of each length.
    pub distinct_codes: BTreeMap<Length, u64>,
    /// The memory of the directories and sketches in bytes, without the store's cache.
    pub memory_bytes: u64,
    /// The damage found when the index was opened.
    pub damage: Vec<Damage>,
    /// The numeric type in which codes are made.
    pub precision: String,
    /// The number of the active generation.
    pub generation: u32,
    /// The schema version of the store.
    pub schema: u32,
    /// The size of the store in bytes.
    pub disk_bytes: u64,
    /// True if the disk has no space for writes.
    pub disk_full: bool,
    /// The number of unreadable log messages that were skipped.
    #[serde(skip)]
    pub log_broken: u64,
    /// How many times sled was opened: once, and again after each failed write.
    #[serde(skip)]
    pub opened: u64,
}
