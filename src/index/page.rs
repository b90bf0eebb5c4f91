//! Pages of codes: 64 images each, every code of an image beside its id, under one checksum.
//! Knows no keys and no sled; what is wrong with a page it says in words, and the caller says which page.

use std::collections::BTreeMap;

use crate::code::{HashCode, Length};

use super::record::ImageId;

/// How many sequence numbers share a page.
const SLOTS: u64 = 64;

/// The page and the slot in it of a sequence number.
pub fn place(sequence: u64) -> (u64, u8) {
    (sequence / SLOTS, (sequence % SLOTS) as u8)
}

/// The sequence number of a slot in a page, if there is one so high.
pub fn sequence(number: u64, slot: u8) -> Option<u64> {
    number.checked_mul(SLOTS)?.checked_add(u64::from(slot))
}

/// An image in a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Whose codes these are.
    pub id: ImageId,
    /// One code of each length, ascending.
    pub codes: Vec<HashCode>,
}

/// The used slots of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page(pub BTreeMap<u8, Slot>);

impl Page {
    /// CRC-32 of the rest; then, a used slot: its number, its codes packed in order, the length of its id, its id.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.0.len() * 56);
        for (slot, Slot { id, codes }) in &self.0 {
            body.push(*slot);
            for code in codes {
                let word = code.word() << (64 - code.length().bits());
                body.extend(word.to_be_bytes().into_iter().take(width(code.length())));
            }
            body.push(id.as_str().len() as u8);
            body.extend_from_slice(id.as_str().as_bytes());
        }
        let mut bytes = crc32fast::hash(&body).to_be_bytes().to_vec();
        bytes.append(&mut body);
        bytes
    }

    /// Reads a page back.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8], lengths: &[Length]) -> Result<Self, &'static str> {
        let (checksum, mut body) = bytes.split_first_chunk().ok_or("it is cut short")?;
        if u32::from_be_bytes(*checksum) != crc32fast::hash(body) {
            return Err("its checksum does not match");
        }
        let mut slots = BTreeMap::new();
        while !body.is_empty() {
            let (slot, entry) = decode_slot(&mut body, lengths)?;
            if u64::from(slot) >= SLOTS || slots.insert(slot, entry).is_some() {
                return Err("it has a slot past its end or twice");
            }
        }
        Ok(Page(slots))
    }
}

fn decode_slot(body: &mut &[u8], lengths: &[Length]) -> Result<(u8, Slot), &'static str> {
    let mut take = |count: usize| -> Result<&[u8], &'static str> {
        let (head, rest) = body.split_at_checked(count).ok_or("a slot is cut short")?;
        *body = rest;
        Ok(head)
    };
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    let slot = number(take(1)?) as u8;
    let mut codes = Vec::with_capacity(lengths.len());
    for &length in lengths {
        codes.push(HashCode::from_word(length, number(take(width(length))?)));
    }
    let size = number(take(1)?) as usize;
    let id = str::from_utf8(take(size)?)
        .ok()
        .and_then(|text| text.parse().ok());
    let id = id.ok_or("a slot holds no image id")?;
    Ok((slot, Slot { id, codes }))
}

/// Bytes a code of this length takes.
fn width(length: Length) -> usize {
    length.bits() / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn page(words: &[(u8, u64)], lengths: &[Length]) -> Page {
        let slot = |&(slot, word): &(u8, u64)| {
            let codes = lengths
                .iter()
                .map(|&length| HashCode::from_word(length, word))
                .collect();
            (
                slot % 64,
                Slot {
                    id: format!("image-{word}").parse().unwrap(),
                    codes,
                },
            )
        };
        Page(words.iter().map(slot).collect())
    }

    proptest! {
        #[test]
        fn pages_read_back(words: Vec<(u8, u64)>, count in 1usize..=3) {
            let lengths = &Length::ALL[..count];
            let page = page(&words, lengths);
            prop_assert_eq!(Page::decode(&page.encode(), lengths), Ok(page));
        }

        #[test]
        fn a_changed_byte_is_noticed(
            words in prop::collection::vec(any::<(u8, u64)>(), 1..9), at: usize, flip in 1u8..,
        ) {
            let mut bytes = page(&words, &Length::ALL).encode();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert!(Page::decode(&bytes, &Length::ALL).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(mut body: Vec<u8>, sealed: bool) {
            let mut bytes = crc32fast::hash(&body).to_be_bytes().to_vec();
            bytes.append(&mut body);
            let _ = Page::decode(if sealed { &bytes } else { &bytes[4..] }, &Length::ALL);
        }
    }

    #[test]
    fn places_and_sequences_are_inverse() {
        for number in [0, 63, 64, 12_345] {
            let (page, slot) = place(number);
            assert_eq!(sequence(page, slot), Some(number));
        }
        assert_eq!(sequence(u64::MAX, 0), None);
    }
}
