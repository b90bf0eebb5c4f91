//! Row pages and code pages: the data of neighbouring sequence numbers in one sled entry under one
//! checksum, since an entry costs about a hundred bytes of overhead.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    code::Length,
    disk::key::Key,
    types::error::{Damage, IndexError},
};

/// The number of sequence numbers in a page. More would make the store smaller and each change more
/// expensive.
pub const SLOTS: u32 = 32;

/// The page of a sequence number, and its slot in the page.
pub fn page_and_slot(sequence: u32) -> (u32, u8) {
    (sequence / SLOTS, (sequence % SLOTS) as u8)
}

/// The used slots of a page.
pub type Page<T> = BTreeMap<u8, T>;

/// The codes of an image as words, one of each length, ascending; empty if the image is marked as
/// uncoded.
pub type CodeWords = Vec<u64>;

/// Flag in the number of a slot: its image is uncoded.
const NONE: u8 = 0x80;

/// Encodes a page: CRC-32 of the rest, then the used slots in postcard's format.
pub fn encode<T: Serialize>(page: &Page<T>) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(page).map(seal)
}

/// Decodes the used slots of a page, ascending.
///
/// # Errors
/// The kind of damage.
pub fn decode_slots<T: DeserializeOwned>(bytes: &[u8]) -> Result<Vec<(u8, T)>, &'static str> {
    // Postcard encodes a list of pairs like a map.
    let slots: Vec<(u8, T)> =
        postcard::from_bytes(open(bytes)?).map_err(|_| "it is not a page of this kind")?;
    in_order(slots.iter().map(|(slot, _)| *slot))?;
    Ok(slots)
}

/// Decodes a page.
///
/// # Errors
/// The kind of damage.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Page<T>, &'static str> {
    Ok(decode_slots(bytes)?.into_iter().collect())
}

fn in_order(slots: impl Iterator<Item = u8>) -> Result<(), &'static str> {
    let mut least = 0;
    for slot in slots {
        if !(least..SLOTS).contains(&slot.into()) {
            return Err("it has a slot past its end or out of order");
        }
        least = u32::from(slot) + 1;
    }
    Ok(())
}

/// Decodes one slot of a page.
///
/// # Errors
/// The kind of damage.
pub fn find<T: DeserializeOwned>(bytes: &[u8], slot: u8) -> Result<Option<T>, &'static str> {
    let malformed = |_| "it is not a page of this kind";
    let (count, mut rest) = postcard::take_from_bytes::<usize>(open(bytes)?).map_err(malformed)?;
    for _ in 0..count {
        let ((number, value), after) =
            postcard::take_from_bytes::<(u8, T)>(rest).map_err(malformed)?;
        if number == slot {
            return Ok(Some(value));
        }
        rest = after;
    }
    Ok(None)
}

/// Encodes a code page: CRC-32 of the rest, then for each used slot its number and its packed
/// codes, or the number with [`NONE`] and zeros.
pub fn encode_codes(page: &Page<CodeWords>, lengths: &[Length]) -> Vec<u8> {
    let mut body = Vec::with_capacity(page.len() * 14);
    for (slot, words) in page {
        body.push(if words.is_empty() { slot | NONE } else { *slot });
        for (at, length) in lengths.iter().enumerate() {
            let bytes = words.get(at).copied().unwrap_or(0).to_be_bytes();
            body.extend_from_slice(&bytes[bytes.len() - width(*length)..]);
        }
    }
    seal(body)
}

/// Decodes the used slots of a code page, ascending, with one code of each length for each.
///
/// # Errors
/// The kind of damage.
pub fn decode_code_slots<'a>(
    bytes: &'a [u8],
    lengths: &'a [Length],
) -> Result<impl Iterator<Item = (u8, impl Iterator<Item = u64>)>, &'static str> {
    let slots = slots(bytes, lengths)?;
    in_order(slots.clone().map(|slot| slot[0] & !NONE))?;
    Ok(slots.map(|slot| (slot[0] & !NONE, words(slot, lengths))))
}

/// Decodes a code page.
///
/// # Errors
/// The kind of damage.
pub fn decode_codes(bytes: &[u8], lengths: &[Length]) -> Result<Page<CodeWords>, &'static str> {
    let slots = decode_code_slots(bytes, lengths)?;
    Ok(slots.map(|(slot, words)| (slot, words.collect())).collect())
}

/// Decodes the codes of one slot of a code page.
///
/// # Errors
/// The kind of damage.
pub fn find_codes(
    bytes: &[u8],
    lengths: &[Length],
    slot: u8,
) -> Result<Option<CodeWords>, &'static str> {
    let mut slots = slots(bytes, lengths)?;
    let found = slots.find(|bytes| bytes[0] & !NONE == slot);
    Ok(found.map(|bytes| words(bytes, lengths).collect()))
}

fn slots<'a>(
    bytes: &'a [u8],
    lengths: &[Length],
) -> Result<std::slice::ChunksExact<'a, u8>, &'static str> {
    let body = open(bytes)?;
    let stride = 1 + lengths.iter().copied().map(width).sum::<usize>();
    if !body.len().is_multiple_of(stride) {
        return Err("a slot is cut short");
    }
    Ok(body.chunks_exact(stride))
}

/// The words of a slot. `slot` starts with the slot's number.
fn words<'a>(slot: &'a [u8], lengths: &'a [Length]) -> impl Iterator<Item = u64> + 'a {
    let (none, mut packed) = (slot[0] & NONE != 0, &slot[1..]);
    let lengths = if none { &[] } else { lengths };
    lengths.iter().map(move |&length| {
        let (code, rest) = packed.split_at(width(length));
        packed = rest;
        code.iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    })
}

/// Prepends a checksum to a value.
pub fn seal(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&body).to_be_bytes();
    body.splice(..0, checksum);
    body
}

/// Checks the checksum of a value and returns the value.
pub fn open(bytes: &[u8]) -> Result<&[u8], &'static str> {
    let (checksum, body) = bytes.split_first_chunk().ok_or("it is cut short")?;
    if u32::from_be_bytes(*checksum) != crc32fast::hash(body) {
        return Err("its checksum does not match");
    }
    Ok(body)
}

/// The size of a packed code in bytes.
fn width(length: Length) -> usize {
    length.bits() / 8
}

impl Damage {
    /// Damage of a row page.
    pub fn rows(number: u32, why: &str) -> Self {
        Damage::page(format!("row page {number}"), number, SLOTS, why)
    }

    /// Damage of the payload of an image.
    pub fn payload(sequence: u32, why: &str) -> Self {
        Damage {
            what: format!("the payload of the image with sequence number {sequence}"),
            why: why.to_owned(),
        }
    }

    /// Damage of a code page.
    pub fn codes(number: u32, generation: u32, why: &str) -> Self {
        let what = format!("code page {number} of generation {generation}");
        Damage::page(what, number, SLOTS, why)
    }

    pub(super) fn page(what: String, number: u32, slots: u32, why: &str) -> Self {
        let (first, last) = (number * slots, number * slots + (slots - 1));
        let why = format!("{why}; the images are those with sequence numbers {first} to {last}");
        Damage { what, why }
    }
}

/// Iterates over pages in order, with a look at the next one.
pub struct Pages<N> {
    entries: sled::Iter,
    number: N,
    next: Option<(u32, sled::IVec)>,
}

impl<N: Fn(Key) -> Option<u32>> Pages<N> {
    /// Iterates over `entries`. `number` returns the page number of a key, or `None` to skip it.
    pub fn new(entries: sled::Iter, number: N) -> Self {
        Pages {
            entries,
            number,
            next: None,
        }
    }

    /// The number of the next page.
    ///
    /// # Errors
    /// [`IndexError::Store`].
    pub fn peek(&mut self) -> Result<Option<u32>, IndexError> {
        // Skips keys of other kinds.
        while self.next.is_none()
            && let Some(entry) = self.entries.next()
        {
            let (key, value) = entry?;
            let number = Key::from_bytes(&key).and_then(|key| (self.number)(key));
            self.next = number.map(|number| (number, value));
        }
        Ok(self.next.as_ref().map(|(number, _)| *number))
    }

    /// Takes the next page if it has this number.
    pub fn take(&mut self, number: u32) -> Option<sled::IVec> {
        self.next
            .take_if(|(next, _)| *next == number)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

    use super::*;
    use proptest::prelude::*;

    /// An even word means an uncoded image.
    fn codes(words: &[(u8, u64)], lengths: &[Length]) -> Page<CodeWords> {
        let slot = |&(slot, word): &(u8, u64)| {
            let lengths = if word % 2 == 0 { &[] } else { lengths };
            let words = lengths.iter().map(|length| word >> (64 - length.bits()));
            (slot % SLOTS as u8, words.collect())
        };
        words.iter().map(slot).collect()
    }

    proptest! {
        #[test]
        fn pages_read_back(words: Vec<(u8, u64)>, count in 1usize..=3) {
            let lengths = &Length::ALL[..count];
            let page = codes(&words, lengths);
            prop_assert_eq!(decode_codes(&encode_codes(&page, lengths), lengths), Ok(page.clone()));
            let bytes = encode(&page).unwrap();
            for slot in 0..SLOTS as u8 {
                let words = page.get(&slot).cloned();
                let packed = encode_codes(&page, lengths);
                prop_assert_eq!(find_codes(&packed, lengths, slot), Ok(words.clone()));
                prop_assert_eq!(find(&bytes, slot), Ok(words));
            }
            prop_assert_eq!(decode(&bytes), Ok(page));
        }

        #[test]
        fn a_changed_byte_is_detected(
            words in prop::collection::vec(any::<(u8, u64)>(), 1..9), at: usize, flip in 1u8..,
        ) {
            let page = codes(&words, &Length::ALL);
            for mut bytes in [encode_codes(&page, &Length::ALL), encode(&page).unwrap()] {
                let at = at % bytes.len();
                bytes[at] ^= flip;
                prop_assert!(decode_codes(&bytes, &Length::ALL).is_err());
                prop_assert!(decode::<CodeWords>(&bytes).is_err());
            }
        }

        #[test]
        fn no_input_panics(body: Vec<u8>, sealed: bool) {
            let bytes = if sealed { seal(body) } else { body };
            let _ = decode_codes(&bytes, &Length::ALL);
            let _ = decode::<CodeWords>(&bytes);
            let _ = find::<CodeWords>(&bytes, 1);
            let _ = find_codes(&bytes, &Length::ALL, 1);
        }
    }
}
