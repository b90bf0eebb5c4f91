//! A word that a probe found.

/// A word that a probe found, with its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NearWord {
    /// The distance in the highest byte, the word below it. Sorts in the order of results.
    key: u64,
    /// The list that the slot belongs to; set by the caller.
    pub list: u32,
    /// The slot of the word in its set.
    pub slot: u32,
}

impl NearWord {
    /// Creates a found word of list 0.
    #[expect(clippy::cast_possible_truncation, reason = "slots are u32 by design")]
    pub fn new(distance: u32, word: u64, slot: usize) -> Self {
        NearWord {
            key: u64::from(distance) << 56 | word,
            list: 0,
            slot: slot as u32,
        }
    }

    /// The distance and the word as one number, in the order of results.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Its distance.
    pub fn distance(&self) -> u32 {
        (self.key >> 56) as u32
    }

    /// The word.
    pub fn word(&self) -> u64 {
        self.key & !(0xff << 56)
    }
}
