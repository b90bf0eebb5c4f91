//! Ranks candidates by similarity.

use std::{cmp::Ordering, ops::Range};

use crate::memory::selection::Hit;

/// A candidate with its similarity to the query.
pub type Ranked = (Hit, Option<f32>);

/// Returns the number of candidates and a range of them in order: most similar first, equal ones in
/// the given order, those of unknown similarity last. With `min_similarity`, only images known to
/// be at least that similar are candidates.
pub fn rank(
    candidates: &[Hit],
    similarities: &[Option<f32>],
    min_similarity: Option<f32>,
    range: Range<usize>,
) -> (usize, Vec<Ranked>) {
    let given = similarities.iter().copied().enumerate();
    let mut order: Vec<(usize, Option<f32>)> = given
        .filter(|(_, of)| {
            min_similarity.is_none_or(|min_similarity| of.is_some_and(|of| of >= min_similarity))
        })
        .collect();
    let compare = |a: &(usize, Option<f32>), b: &(usize, Option<f32>)| -> Ordering {
        // No similarity is below −1.
        let [one, other] = [a, b].map(|(_, of)| of.unwrap_or(-2.0));
        other.total_cmp(&one).then(a.0.cmp(&b.0))
    };
    let total = order.len();
    let range = range.start.min(total)..range.end.min(total);
    // Only the requested range is sorted.
    if range.end < total {
        order.select_nth_unstable_by(range.end, compare);
        order.truncate(range.end);
    }
    order.sort_unstable_by(compare);
    let wanted = order.drain(range);
    let ranked = wanted.map(|(at, similarity)| (candidates[at], similarity));
    (total, ranked.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

    use super::*;
    use crate::code::Length;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranking_is_a_stable_sort(
            given in prop::collection::vec(prop::option::weighted(0.8, -4i8..=4), 0..40),
            start in 0usize..50, count in 0usize..50, min_similarity in prop::option::of(-4i8..=4),
        ) {
            let part = |of: i8| f32::from(of) / 4.0;
            let (given, min_similarity): (Vec<_>, _) = (given.into_iter().map(|of| of.map(part)).collect(), min_similarity.map(part));
            let hit = |at: usize| Hit { distance: at as u32, length: Length::L24, word: 0, sequence: at as u32 };
            let hits: Vec<Hit> = (0..given.len()).map(hit).collect();
            let range = start..start + count;
            let (total, ranked) = rank(&hits, &given, min_similarity, range.clone());
            let mut all: Vec<Ranked> = hits.iter().map(|hit| (*hit, given[hit.sequence as usize])).collect();
            all.retain(|(_, of)| min_similarity.is_none_or(|min_similarity| of.is_some_and(|of| of >= min_similarity)));
            all.sort_by(|a, b| b.1.is_some().cmp(&a.1.is_some()).then(b.1.partial_cmp(&a.1).unwrap()));
            prop_assert_eq!(total, all.len());
            let expected: Vec<Ranked> = all.into_iter().skip(start).take(count).collect();
            prop_assert_eq!(ranked, expected);
        }
    }
}
