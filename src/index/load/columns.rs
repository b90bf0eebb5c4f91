//! The directory of what was read: its columns, sorted and made on all cores.
//! Knows nothing of pages, nor of what was damaged.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use super::{
    super::{
        column::Column, directory::Directory, generation::Generation, probe::Kind, segment::Segment,
    },
    Part, cores,
};

/// One segment of all that was read.
pub fn directory(generation: &Generation, parts: &[Part]) -> Directory {
    let images = parts.iter().map(|part| part.coded.len() as u64).sum();
    let empty = Directory::new(&generation.lengths);
    let none = |kind: &Kind| Arc::new(Column::from_sorted(*kind, &[]));
    let mut added: Vec<Arc<Column>> = empty.kinds().iter().map(none).collect();
    let columns = Mutex::new(added.iter_mut().zip(empty.kinds()).enumerate());
    // A column takes much memory while it is made, so there are never more under way than cores.
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                let next = || columns.lock().ok()?.next();
                while let Some((at, (column, &kind))) = next() {
                    *column = Column::from_sorted(kind, &sorted(pairs(parts, at, kind))).into();
                }
            });
        }
    });
    let segment = Segment {
        added,
        removed: empty.kinds().iter().map(none).collect(),
    };
    let distinct = empty.distinct_after(&segment);
    empty.with(segment.into(), distinct, images)
}

/// What a column is made of, by sequence number.
fn pairs(parts: &[Part], at: usize, kind: Kind) -> Vec<(u64, u32)> {
    let count = parts.iter().map(|part| match kind {
        Kind::Codes(_) => part.coded.len(),
        Kind::Labels => part.labels.len(),
        Kind::Ids => part.sequences.len(),
    });
    let mut pairs = Vec::with_capacity(count.sum());
    for part in parts {
        let (words, sequences) = match kind {
            Kind::Codes(_) => (part.codes.get(at), &part.coded),
            Kind::Ids => (Some(&part.ids), &part.sequences),
            Kind::Labels => {
                pairs.extend_from_slice(&part.labels);
                continue;
            }
        };
        let words = words.into_iter().flatten().copied();
        pairs.extend(words.zip(sequences.iter().copied()));
    }
    pairs
}

/// Bits of a word that are sorted by at once: the places that 2¹¹ runs grow at fit into the processor's cache.
const DIGIT: u32 = 11;

/// Sorts pairs by their words and leaves out repeated ones; those of one word stay in their order (a radix sort).
fn sorted(mut pairs: Vec<(u64, u32)>) -> Vec<(u64, u32)> {
    let all = pairs.iter().fold(0, |all, (word, _)| all | word);
    let mut other = vec![(0, 0); pairs.len()];
    for shift in (0..u64::BITS).step_by(DIGIT as usize) {
        if all >> shift == 0 {
            break;
        }
        let digit = |word: u64| (word >> shift) as usize & ((1 << DIGIT) - 1);
        let mut places = [0; 1 << DIGIT];
        for (word, _) in &pairs {
            places[digit(*word)] += 1;
        }
        let mut before = 0;
        for place in &mut places {
            before += std::mem::replace(place, before);
        }
        for pair in &pairs {
            let place = &mut places[digit(pair.0)];
            other[*place] = *pair;
            *place += 1;
        }
        std::mem::swap(&mut pairs, &mut other);
    }
    pairs.dedup();
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pairs_are_sorted_as_the_library_sorts_them(
            words in prop::collection::vec((0u32..64, any::<u64>()), 0..500),
        ) {
            let words = words.into_iter().map(|(shift, word)| word >> shift);
            let pairs: Vec<(u64, u32)> = words.zip(0u32..).map(|(word, at)| (word, at / 2)).collect();
            let mut expected = pairs.clone();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(sorted(pairs), expected);
        }
    }
}
