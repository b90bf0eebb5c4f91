//! Finds the distinct codes near a code: the forms of a word set, and the search of each in growing
//! radius.

mod bitmap;
pub mod near;
mod scan;
mod table;
mod tables;

use std::ops::{Range, RangeInclusive};

use crate::code::Length;

use bitmap::Bitmap;
use near::NearWord;
use tables::Tables;

pub use scan::words as near_words;
pub use table::Table;

/// The kind of words, which determines their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Codes of a length, searched by distance.
    Codes(Length),
    /// Numbers of labels, looked up.
    Labels,
    /// Hashes of ids, 32 bits, looked up; nearly all differ.
    Ids,
    /// Words of a field's values, looked up by range.
    Field,
}

/// Fewer words of 32 or 48 bits are all compared; more are kept in tables that find the few
/// candidates.
const MAX_SCANNED: usize = 8192;
/// The same for 24 bits. A bitmap is faster from fewer words on, but takes two megabytes.
const MAX_SCANNED_24: usize = 2048;

/// Distinct words, ascending, in the form that suits their kind and number.
#[derive(Debug)]
pub enum WordSet {
    /// A plain list: few words, labels or values of a field. A word may be repeated once per
    /// posting, so that slots are indices of postings.
    List(Vec<u64>),
    /// 24 bits: one bit for each possible word.
    Bitmap(Bitmap),
    /// 32 bits in two fields of 16.
    Tables32(Tables<u16>),
    /// 48 bits in three fields of 16.
    Tables48(Tables<u32>),
    /// Hashes of ids, each repeated once per posting, so that slots are indices of postings.
    Hashes(Table<u16>),
}

impl WordSet {
    /// Creates a set of ascending distinct words.
    pub fn new(kind: Kind, words: Vec<u64>) -> Self {
        match kind {
            Kind::Codes(Length::L24) if words.len() >= MAX_SCANNED_24 => {
                WordSet::Bitmap(Bitmap::new(&words))
            }
            Kind::Codes(Length::L32) if words.len() >= MAX_SCANNED => {
                WordSet::Tables32(Tables::new(2, &words))
            }
            Kind::Codes(Length::L48) if words.len() >= MAX_SCANNED => {
                WordSet::Tables48(Tables::new(3, &words))
            }
            _ => {
                let mut words = words;
                words.shrink_to_fit();
                WordSet::List(words)
            }
        }
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        match self {
            WordSet::List(words) => words.len(),
            WordSet::Bitmap(bitmap) => bitmap.len(),
            WordSet::Tables32(tables) => tables.len(),
            WordSet::Tables48(tables) => tables.len(),
            WordSet::Hashes(table) => table.len(),
        }
    }

    /// The slots of a word: at most one, unless words are repeated once per posting.
    pub fn slots(&self, word: u64) -> Range<u32> {
        match self {
            WordSet::Hashes(table) => table.slots(word),
            WordSet::List(_) => self.slots_within(&(word..=word)),
            _ => self.slot(word).map_or(0..0, |slot| slot..slot + 1),
        }
    }

    /// The slots of all words in a range. Only a list can be asked; any other form has none.
    #[expect(clippy::cast_possible_truncation, reason = "slots are u32 by design")]
    pub fn slots_within(&self, range: &RangeInclusive<u64>) -> Range<u32> {
        let WordSet::List(words) = self else {
            return 0..0;
        };
        let start = words.partition_point(|word| word < range.start());
        let end = start + words[start..].partition_point(|word| word <= range.end());
        start as u32..end as u32
    }

    /// The words in a range, each perhaps repeated. Only of a list, as
    /// [`slots_within`](Self::slots_within).
    pub fn within(&self, range: &RangeInclusive<u64>) -> &[u64] {
        let slots = self.slots_within(range);
        match self {
            WordSet::List(words) => &words[slots.start as usize..slots.end as usize],
            _ => &[],
        }
    }

    fn slot(&self, word: u64) -> Option<u32> {
        match self {
            WordSet::Bitmap(bitmap) => bitmap.slot(word),
            WordSet::Tables32(tables) => tables.slot(word),
            WordSet::Tables48(tables) => tables.slot(word),
            WordSet::List(_) | WordSet::Hashes(_) => None,
        }
    }

    /// All words, ascending.
    pub fn iter(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        match self {
            WordSet::List(words) => Box::new(words.iter().copied()),
            WordSet::Bitmap(bitmap) => Box::new(bitmap.iter()),
            WordSet::Tables32(tables) => Box::new(tables.iter()),
            WordSet::Tables48(tables) => Box::new(tables.iter()),
            WordSet::Hashes(table) => Box::new(table.iter()),
        }
    }

    /// The memory that they take, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            WordSet::List(words) => 8 * words.capacity(),
            WordSet::Bitmap(bitmap) => bitmap.bytes(),
            WordSet::Tables32(tables) => tables.bytes(),
            WordSet::Tables48(tables) => tables.bytes(),
            WordSet::Hashes(table) => table.bytes(),
        }
    }
}

/// A search that proceeds outwards from a word.
///
/// It proceeds in steps, and each step visits words that no earlier step visited. After `r + 1`
/// steps every word within distance `r` has been visited, in every form of the set.
#[derive(Debug)]
pub struct Probe<'a> {
    words: &'a WordSet,
    word: u64,
    /// The number of steps done; the maximum once everything was visited.
    done: u32,
}

impl<'a> Probe<'a> {
    /// Starts a search.
    pub fn new(words: &'a WordSet, word: u64) -> Self {
        Probe {
            words,
            word,
            done: 0,
        }
    }

    /// Continues until every word within `radius` is visited. Collects the visited words within
    /// `bound`, which is at least the radius.
    pub fn reach(&mut self, radius: u32, bound: u32, near: &mut Vec<NearWord>) {
        if self.done > radius {
            return;
        }
        let (word, step) = (self.word, self.done);
        let all = match self.words {
            WordSet::List(words) => {
                scan::words(words, word, bound, near);
                true
            }
            WordSet::Bitmap(bitmap) => bitmap.visit(word, step, radius, bound, near),
            WordSet::Tables32(tables) => tables.visit(word, step, radius, bound, near),
            WordSet::Tables48(tables) => tables.visit(word, step, radius, bound, near),
            // Hashes are looked up and have no neighbours.
            WordSet::Hashes(_) => true,
        };
        self.done = if all { u32::MAX } else { radius + 1 };
    }
}
