//! Builds the directory of the loaded pages on all cores.

use std::{
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    memory::{
        codes::Codes,
        column::{Builder, Column},
        directory::Directory,
        probe::Kind,
        segment::Segment,
    },
    open::part::Part,
    types::{field::Field, generation::Generation},
};

/// Builds a directory with one segment of all parts.
pub fn directory(generation: &Generation, fields: Arc<[Field]>, parts: &[Part]) -> Directory {
    let images = parts.iter().map(|part| part.coded.len() as u64).sum();
    let empty = Directory::new(&generation.lengths, fields);
    let none = |kind: &Kind| Arc::new(Column::from_sorted(*kind, &[]));
    let mut added: Vec<Arc<Column>> = empty.kinds().iter().map(none).collect();
    let columns = Mutex::new(added.iter_mut().zip(empty.kinds()).enumerate());
    // Building a column takes much memory, so no more are built at once than there are cores.
    thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| {
                let next = || columns.lock().ok()?.next();
                while let Some((at, (column, &kind))) = next() {
                    *column = column_of(parts, at, kind, MIN_PAIRS_FOR_RUNS).into();
                }
            });
        }
    });
    let segment = Segment {
        added,
        removed: empty.kinds().iter().map(none).collect(),
    };
    let distinct = empty.distinct_after(&segment);
    let mut codes = Codes::new(generation.lengths.iter().copied());
    for part in parts {
        for (at, words) in part.codes.iter().enumerate() {
            for (&sequence, &word) in part.coded.iter().zip(words) {
                codes.insert(sequence, at, word);
            }
        }
    }
    empty.with_codes(segment.into(), distinct, images, codes)
}

/// Builds a column. One of at least `many` pairs is built in runs by the highest bits of its words,
/// so only one run of pairs is in memory at a time.
fn column_of(parts: &[Part], at: usize, kind: Kind, many: u64) -> Column {
    let (mut all, mut count) = (0, 0);
    pairs(parts, at, kind, |word, _| {
        all |= word;
        count += 1;
    });
    let highest = if count < many { 0 } else { RUN_BITS };
    let bits = (u64::BITS - all.leading_zeros()).saturating_sub(highest);
    // All 64 bits cannot be shifted out at once.
    let shift = bits.min(u64::BITS - 1);
    let mut builder = Builder::new(kind);
    for run in 0..=all >> shift {
        let mut of_run = Vec::new();
        pairs(parts, at, kind, |word, sequence| {
            if word >> shift == run {
                of_run.push((word, sequence));
            }
        });
        builder.extend(&sorted(of_run));
    }
    builder.finish()
}

/// Passes each pair of word and image to `each`, the images ascending.
fn pairs(parts: &[Part], at: usize, kind: Kind, mut each: impl FnMut(u64, u32)) {
    for part in parts {
        match kind {
            Kind::Codes(_) => {
                let words = part.codes.get(at).into_iter().flatten();
                (words.zip(&part.coded)).for_each(|(&word, &sequence)| each(word, sequence));
            }
            Kind::Ids => (part.ids.iter().zip(&part.sequences))
                .for_each(|(&hash, &sequence)| each(hash.into(), sequence)),
            Kind::Field => {
                let first = part.codes.len() + SHARED_COLUMNS;
                let values = part.values.get(at - first).into_iter().flatten();
                values.for_each(|&(word, sequence)| each(word, sequence));
            }
            Kind::Labels => {
                (part.labels.iter()).for_each(|&(label, sequence)| each(label.into(), sequence));
            }
        }
    }
}

/// The number of columns between those of codes and those of fields: labels and ids.
const SHARED_COLUMNS: usize = 2;

/// Columns of at least this number of pairs are built in runs.
const MIN_PAIRS_FOR_RUNS: u64 = 1 << 20;
/// The number of highest bits that select a run. All pairs are read again for each run.
const RUN_BITS: u32 = 4;

/// The number of bits of a radix sort's digit. The write positions of 2¹¹ buckets fit into the
/// processor's cache.
const DIGIT: u32 = 11;

/// Sorts pairs by word, stably, and removes duplicates (a radix sort).
fn sorted(mut pairs: Vec<(u64, u32)>) -> Vec<(u64, u32)> {
    let all = pairs.iter().fold(0, |all, (word, _)| all | word);
    let mut other = vec![(0, 0); pairs.len()];
    for shift in (0..u64::BITS).step_by(DIGIT as usize) {
        if all >> shift == 0 {
            break;
        }
        let digit = |word: u64| (word >> shift & ((1 << DIGIT) - 1)) as usize;
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

pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

    use super::*;
    use crate::code::Length;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_column_built_in_runs_is_the_same(
            codes in prop::collection::vec((0u32..48, 0u64..1 << 48), 0..300),
        ) {
            let mut part = Part::of(0..codes.len() as u32, 1, 1);
            for ((shift, code), sequence) in codes.into_iter().zip(0..) {
                part.sequences.push(sequence);
                part.coded.push(sequence);
                part.codes[0].push(code >> shift);
                part.ids.push(code as u32 >> shift.min(31));
                part.labels.push((shift, sequence));
                part.labels.push((shift / 2, sequence));
                part.values[0].push((code << (63 - shift), sequence));
            }
            let parts = [part];
            let kinds = [Kind::Codes(Length::L48), Kind::Labels, Kind::Ids, Kind::Field];
            for (at, kind) in kinds.into_iter().enumerate() {
                let mut expected = Vec::new();
                pairs(&parts, at, kind, |word, image| expected.push((word, image)));
                expected.sort_unstable();
                expected.dedup();
                for many in [0, u64::MAX] {
                    let column = column_of(&parts, at, kind, many);
                    let each = column.iter().flat_map(|(word, images)| images.iter().map(move |&image| (word, image)));
                    prop_assert_eq!(each.collect::<Vec<_>>(), expected.clone());
                }
            }
        }

        #[test]
        fn the_radix_sort_agrees_with_the_standard_sort(
            words in prop::collection::vec((0u32..64, any::<u64>()), 0..500),
        ) {
            let words = words.into_iter().map(|(shift, word)| word >> shift);
            let pairs: Vec<(u64, u32)> = words.zip(0u32..).map(|(word, at)| (word, at / 2)).collect();
            let mut expected = pairs.clone();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(sorted(pairs), expected);
        }
    }
}
