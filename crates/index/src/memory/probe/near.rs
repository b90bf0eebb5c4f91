//! A word within reach of another: what a probe collects.

/// A word within reach: what a search collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Near {
    /// The distance in the highest byte, the word below: in the order of answers.
    key: u64,
    /// Which list the slot is of; for the caller to set.
    pub list: u32,
    /// The place among the words.
    pub slot: u32,
}

impl Near {
    /// In list 0.
    pub fn new(distance: u32, word: u64, slot: usize) -> Self {
        Near {
            key: u64::from(distance) << 56 | word,
            list: 0,
            slot: slot as u32,
        }
    }

    /// Distance and word as one number, in the order of answers.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// How far it is.
    pub fn distance(&self) -> u32 {
        (self.key >> 56) as u32
    }

    /// The word.
    pub fn word(&self) -> u64 {
        self.key & !(0xff << 56)
    }
}
