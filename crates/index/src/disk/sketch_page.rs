//! Sketch pages: the sketches of neighbouring sequence numbers under one checksum.

use crate::{
    disk::page::{Page, open, seal},
    types::{error::Damage, sketch::Sketch},
};

/// The number of sequence numbers in a page. A change of one image writes a whole page, so it is
/// lower than for the smaller rows and codes.
pub const SLOTS: u32 = 8;

/// The page of a sequence number, and its slot in the page.
pub fn page_and_slot(sequence: u32) -> (u32, u8) {
    (sequence / SLOTS, (sequence % SLOTS) as u8)
}

/// Encodes a page: CRC-32 of the rest, then for each used slot its number and its sketch.
pub fn encode(page: &Page<Sketch>) -> Vec<u8> {
    let slots = page.values().map(|sketch| 1 + sketch.values().len());
    // Four more bytes for the checksum.
    let mut body = Vec::with_capacity(4 + slots.sum::<usize>());
    for (slot, sketch) in page {
        body.push(*slot);
        body.extend(sketch.values().iter().map(|value| value.cast_unsigned()));
    }
    seal(body)
}

/// The used slots of a page, ascending, each with the `width` bytes of its sketch.
///
/// # Errors
/// The kind of damage.
pub fn slots(
    bytes: &[u8],
    width: usize,
) -> Result<impl Iterator<Item = (u8, &[u8])>, &'static str> {
    let body = open(bytes)?;
    if !body.len().is_multiple_of(1 + width) {
        return Err("a slot is cut short");
    }
    let slots = body.chunks_exact(1 + width);
    let mut least = 0;
    for slot in slots.clone() {
        if !(least..SLOTS).contains(&slot[0].into()) {
            return Err("it has a slot past its end or out of order");
        }
        least = u32::from(slot[0]) + 1;
    }
    Ok(slots.map(|slot| (slot[0], &slot[1..])))
}

/// Decodes one slot of a page.
///
/// # Errors
/// The kind of damage.
pub fn find(bytes: &[u8], width: usize, slot: u8) -> Result<Option<Sketch>, &'static str> {
    let found = slots(bytes, width)?.find(|(number, _)| *number == slot);
    Ok(found.map(|(_, bytes)| sketch(bytes)))
}

fn sketch(bytes: &[u8]) -> Sketch {
    Sketch::new(bytes.iter().map(|byte| byte.cast_signed()).collect())
}

/// Decodes a page.
///
/// # Errors
/// The kind of damage.
pub fn decode(bytes: &[u8], width: usize) -> Result<Page<Sketch>, &'static str> {
    let slots = slots(bytes, width)?;
    Ok(slots.map(|(slot, bytes)| (slot, sketch(bytes))).collect())
}

impl Damage {
    /// Damage of a sketch page.
    pub fn sketches(number: u32, generation: u32, why: &str) -> Self {
        let what = format!("sketch page {number} of generation {generation}");
        Damage::page(what, number, SLOTS, why)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

    use super::*;
    use proptest::prelude::*;

    fn page(slots: Vec<(u8, [i8; 5])>) -> Page<Sketch> {
        let sketch =
            |(slot, values): (u8, [i8; 5])| (slot % SLOTS as u8, Sketch::new(values.into()));
        slots.into_iter().map(sketch).collect()
    }

    proptest! {
        #[test]
        fn pages_read_back(slots: Vec<(u8, [i8; 5])>) {
            let page = page(slots);
            let bytes = encode(&page);
            for slot in 0..SLOTS as u8 {
                prop_assert_eq!(find(&bytes, 5, slot), Ok(page.get(&slot).cloned()));
            }
            prop_assert_eq!(decode(&bytes, 5), Ok(page));
        }

        #[test]
        fn a_changed_byte_is_detected(
            slots in prop::collection::vec(any::<(u8, [i8; 5])>(), 1..9), at: usize, flip in 1u8..,
        ) {
            let mut bytes = encode(&page(slots));
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert!(decode(&bytes, 5).is_err());
        }

        #[test]
        fn no_input_panics(body: Vec<u8>, sealed: bool, width in 1usize..9) {
            let bytes = if sealed { seal(body) } else { body };
            let _ = decode(&bytes, width);
        }
    }
}
