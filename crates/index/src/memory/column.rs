//! A column: the codes of one length (or the labels) of some images, each distinct one once, with its postings behind it.
//! Immutable, so that readers share it without a lock; knows nothing of what its words and postings stand for.

use std::ops::Range;

use crate::memory::probe::{Kind, Table, WordSet};

/// From this many on, hashes of ids take a table; below, they are words like others.
const HASHES: usize = 1 << 16;

/// Distinct words, ascending, and behind each the sequence numbers of its images, ascending.
#[derive(Debug)]
pub struct Column {
    words: WordSet,
    /// Where the postings of each word start, and where the last ones end; none where each place has one posting.
    starts: Vec<u32>,
    postings: Vec<u32>,
}

impl Column {
    /// Of pairs of word and posting, sorted and without repetition.
    pub fn from_sorted(kind: Kind, pairs: &[(u64, u32)]) -> Self {
        let mut builder = Builder::new(kind);
        builder.extend(pairs);
        builder.finish()
    }

    /// The distinct words.
    pub fn words(&self) -> &WordSet {
        &self.words
    }

    /// How many postings a place among the words has.
    pub fn count(&self, slot: u32) -> u32 {
        let Range { start, end } = self.range(slot);
        (end - start) as u32
    }

    /// The postings of a place among the words.
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

    /// The postings of a word; none where it is not there.
    pub fn find(&self, word: u64) -> &[u32] {
        let slots = self.words.slots(word);
        if slots.is_empty() {
            return &[];
        }
        &self.postings[self.range(slots.start).start..self.range(slots.end - 1).end]
    }

    /// How many postings there are in all.
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

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.words.bytes() + 4 * (self.starts.capacity() + self.postings.capacity())
    }
}

/// A column in the making; words come ascending.
pub struct Builder {
    kind: Kind,
    words: Vec<u64>,
    starts: Vec<u32>,
    postings: Vec<u32>,
}

impl Builder {
    /// Without any word.
    pub fn new(kind: Kind) -> Self {
        Builder {
            kind,
            words: Vec::new(),
            starts: vec![0],
            postings: Vec::new(),
        }
    }

    /// Adds a word with its postings, ascending; one without any is left out.
    pub fn push(&mut self, word: u64, postings: impl IntoIterator<Item = u32>) {
        let before = self.postings.len();
        self.postings.extend(postings);
        if self.postings.len() > before {
            self.words.push(word);
            self.starts.push(self.postings.len() as u32);
        }
    }

    /// Adds pairs of word and posting, sorted and without repetition, whose words are above all that were added.
    pub fn extend(&mut self, pairs: &[(u64, u32)]) {
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let postings = group.iter().map(|&(_, posting)| posting);
            self.push(group[0].0, postings);
        }
    }

    /// The column.
    pub fn finish(mut self) -> Column {
        self.postings.shrink_to_fit();
        if self.kind == Kind::Ids && self.postings.len() >= HASHES {
            let counts = self.starts.windows(2).map(|pair| pair[1] - pair[0]);
            let each = self.words.iter().zip(counts);
            let words: Vec<u64> = each
                .flat_map(|(&word, count)| std::iter::repeat_n(word, count as usize))
                .collect();
            return Column {
                words: WordSet::Hashes(Table::new(0, 2, &words)),
                starts: Vec::new(),
                postings: self.postings,
            };
        }
        self.starts.shrink_to_fit();
        Column {
            words: WordSet::new(self.kind, self.words),
            starts: self.starts,
            postings: self.postings,
        }
    }
}
