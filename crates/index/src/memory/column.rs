//! A column: the codes of one length, the labels, the ids or the values of a field, each distinct
//! word once, with its postings. Immutable, so that readers share it without a lock.

use std::ops::{Range, RangeInclusive};

use crate::memory::probe::{Kind, Table, WordSet};

/// Ids of at least this number are kept in a table of hashes; fewer are kept like other words.
const MIN_HASHES_FOR_TABLE: usize = 1 << 16;

/// Distinct words, ascending, each with the sequence numbers of its images, ascending.
#[derive(Debug)]
pub struct Column {
    words: WordSet,
    /// The start of each word's postings, and the end of the last; empty if each slot has one
    /// posting.
    starts: Vec<u32>,
    postings: Vec<u32>,
    /// Above all postings.
    end: usize,
}

impl Column {
    /// Builds a column of pairs of word and posting, sorted and without duplicates.
    pub fn from_sorted(kind: Kind, pairs: &[(u64, u32)]) -> Self {
        let mut builder = Builder::new(kind);
        builder.extend(pairs);
        builder.finish()
    }

    /// The distinct words.
    pub fn words(&self) -> &WordSet {
        &self.words
    }

    /// The number of postings of a slot.
    pub fn count(&self, slot: u32) -> u32 {
        let slot = slot as usize;
        if self.starts.is_empty() {
            1
        } else {
            self.starts[slot + 1] - self.starts[slot]
        }
    }

    /// The postings of a slot.
    pub fn postings(&self, slot: u32) -> &[u32] {
        &self.postings[self.range(slot)]
    }

    fn range(&self, slot: u32) -> Range<usize> {
        let slot = slot as usize;
        if self.starts.is_empty() {
            slot..slot + 1
        } else {
            self.starts[slot] as usize..self.starts[slot + 1] as usize
        }
    }

    /// The postings of a word; empty if the column does not have it.
    pub fn find(&self, word: u64) -> &[u32] {
        let slots = self.words.slots(word);
        if slots.is_empty() {
            return &[];
        }
        &self.postings[self.range(slots.start).start..self.range(slots.end - 1).end]
    }

    /// The postings of all words in a range, by word; see [`WordSet::slots_within`].
    pub fn within(&self, range: &RangeInclusive<u64>) -> &[u32] {
        let slots = self.words.slots_within(range);
        if slots.is_empty() {
            return &[];
        }
        &self.postings[self.range(slots.start).start..self.range(slots.end - 1).end]
    }

    /// The postings of all words.
    pub fn all_postings(&self) -> &[u32] {
        &self.postings
    }

    /// A number above all postings.
    pub fn end(&self) -> usize {
        self.end
    }

    /// The number of postings.
    pub fn len(&self) -> usize {
        self.postings.len()
    }

    /// Every word with its postings, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u32])> {
        let mut words = self.words.iter().peekable();
        let mut slot = 0;
        std::iter::from_fn(move || {
            let (word, first) = (words.next()?, slot);
            slot += 1;
            while words.next_if_eq(&word).is_some() {
                slot += 1;
            }
            Some((
                word,
                &self.postings[self.range(first).start..self.range(slot - 1).end],
            ))
        })
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.words.bytes() + 4 * (self.starts.capacity() + self.postings.capacity())
    }
}

/// Builds a column; words must come in ascending order.
pub struct Builder {
    kind: Kind,
    words: Vec<u64>,
    starts: Vec<u32>,
    postings: Vec<u32>,
}

impl Builder {
    /// Creates a builder without words.
    pub fn new(kind: Kind) -> Self {
        Builder {
            kind,
            words: Vec::new(),
            starts: vec![0],
            postings: Vec::new(),
        }
    }

    /// Adds a word with its postings, ascending. A word without postings is left out.
    pub fn push(&mut self, word: u64, postings: impl IntoIterator<Item = u32>) {
        let before = self.postings.len();
        self.postings.extend(postings);
        if self.postings.len() > before {
            self.words.push(word);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "u32 by design: 2^32 postings would take 16 GiB"
            )]
            let end = self.postings.len() as u32;
            self.starts.push(end);
        }
    }

    /// Adds pairs of word and posting, sorted and without duplicates. Their words must be above all
    /// added so far.
    pub fn extend(&mut self, pairs: &[(u64, u32)]) {
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let postings = group.iter().map(|&(_, posting)| posting);
            self.push(group[0].0, postings);
        }
    }

    /// Returns the column.
    pub fn finish(mut self) -> Column {
        self.postings.shrink_to_fit();
        let last = self.postings.iter().max();
        let end = last.map_or(0, |&last| last as usize + 1);
        let form: Option<fn(Vec<u64>) -> WordSet> = match self.kind {
            Kind::Ids if self.postings.len() >= MIN_HASHES_FOR_TABLE => {
                Some(|words| WordSet::Hashes(Table::new(0, 2, &words)))
            }
            // 12 bytes for each distinct word would take more than 8 for each posting.
            Kind::Field if 12 * self.words.len() > 8 * self.postings.len() => Some(WordSet::List),
            _ => None,
        };
        if let Some(form) = form {
            let counts = self.starts.windows(2).map(|pair| pair[1] - pair[0]);
            let mut words = Vec::with_capacity(self.postings.len());
            for (&word, count) in self.words.iter().zip(counts) {
                words.extend(std::iter::repeat_n(word, count as usize));
            }
            return Column {
                words: form(words),
                starts: Vec::new(),
                postings: self.postings,
                end,
            };
        }
        self.starts.shrink_to_fit();
        Column {
            words: WordSet::new(self.kind, self.words),
            starts: self.starts,
            postings: self.postings,
            end,
        }
    }
}
