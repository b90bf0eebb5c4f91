//! A table over words of several 16-bit fields: the rest of each word, by the value of one field.

use std::ops::Range;

use crate::memory::probe::scan::Word;

/// The rest of a word: its other fields.
pub trait Rest: Word + Ord + 'static {
    /// Creates a rest from the low bits of a word.
    fn from_bits(bits: u64) -> Self;
    /// Returns the rest as the low bits of a word.
    fn bits(self) -> u64;
}

impl Rest for u16 {
    #[expect(clippy::cast_possible_truncation, reason = "takes the low bits")]
    fn from_bits(bits: u64) -> Self {
        bits as u16
    }
    fn bits(self) -> u64 {
        self.into()
    }
}

impl Rest for u32 {
    #[expect(clippy::cast_possible_truncation, reason = "takes the low bits")]
    fn from_bits(bits: u64) -> Self {
        bits as u32
    }
    fn bits(self) -> u64 {
        self.into()
    }
}

/// The number of values of a field.
pub const BUCKETS: usize = 1 << 16;

/// One table: a bucket for each value of its field.
#[derive(Debug)]
pub struct Table<R> {
    /// The position of its field.
    pub split: Split,
    /// The start of each bucket, and the end of the last.
    pub starts: Vec<u32>,
    /// The rests by bucket, ascending in each.
    pub rests: Vec<R>,
    /// The slot of each in the word set; empty in the first table, whose order is that of the
    /// slots.
    pub slots: Vec<u32>,
}

impl<R: Rest> Table<R> {
    /// Builds the table by field `at` of ascending words of `fields` × 16 bits.
    pub fn new(at: u32, fields: u32, words: &[u64]) -> Self {
        let split = Split::new(at, fields);
        let mut starts = vec![0u32; BUCKETS + 1];
        for &word in words {
            starts[split.field(word) + 1] += 1;
        }
        for bucket in 0..BUCKETS {
            starts[bucket + 1] += starts[bucket];
        }
        let mut next = starts.clone();
        let mut rests = vec![R::from_bits(0); words.len()];
        let mut slots = vec![0; if at == 0 { 0 } else { words.len() }];
        for (slot, &word) in (0..).zip(words) {
            let next = &mut next[split.field(word)];
            rests[*next as usize] = R::from_bits(split.rest(word));
            if at > 0 {
                slots[*next as usize] = slot;
            }
            *next += 1;
        }
        Table {
            split,
            starts,
            rests,
            slots,
        }
    }

    /// The range of a bucket.
    fn bucket(&self, field: usize) -> (usize, usize) {
        (self.starts[field] as usize, self.starts[field + 1] as usize)
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.rests.len()
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        4 * (self.starts.capacity() + self.slots.capacity())
            + size_of::<R>() * self.rests.capacity()
    }

    /// The words, ascending. Only for a table by the highest field.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        (0..BUCKETS).flat_map(move |field| {
            let (start, end) = self.bucket(field);
            let rests = self.rests[start..end].iter();
            rests.map(move |rest| self.split.join(field, rest.bits()))
        })
    }

    /// The slots of a word. Only for a table by the highest field.
    #[expect(clippy::cast_possible_truncation, reason = "slots are u32 by design")]
    pub fn slots(&self, word: u64) -> Range<u32> {
        let (start, end) = self.bucket(self.split.field(word));
        let (rest, bucket) = (R::from_bits(self.split.rest(word)), &self.rests[start..end]);
        let first = start + bucket.partition_point(|other| *other < rest);
        let same = self.rests[first..end]
            .iter()
            .take_while(|other| **other == rest);
        first as u32..(first + same.count()) as u32
    }
}

/// The position of a field in a word.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    shift: u32,
}

impl Split {
    fn new(at: u32, fields: u32) -> Self {
        Split {
            shift: 16 * (fields - 1 - at),
        }
    }

    /// The value of the field.
    pub fn field(self, word: u64) -> usize {
        (word >> self.shift & 0xffff) as usize
    }

    /// The other fields, in their order.
    pub fn rest(self, word: u64) -> u64 {
        word >> (self.shift + 16) << self.shift | word & ((1 << self.shift) - 1)
    }

    /// Joins a field and the other fields to a word.
    pub fn join(self, field: usize, rest: u64) -> u64 {
        let low = (1 << self.shift) - 1;
        (rest & !low) << 16 | (field as u64) << self.shift | rest & low
    }
}
