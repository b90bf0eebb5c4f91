//! The order of candidates by how alike they are.
//! Knows images by sequence number; neither how they were found nor where sketches lie.

use std::{cmp::Ordering, ops::Range};

use crate::memory::ball::Hit;

/// A candidate and how like the query it is.
pub type Ranked = (Hit, Option<f32>);

/// The candidates of a range of their order, and how many there are: the most similar first, those that are equally similar in the order in
/// which they came, those of unknown similarity last. With `least` only those are candidates that are known to be so similar.
pub fn rank(
    candidates: &[Hit],
    similarities: &[Option<f32>],
    least: Option<f32>,
    range: Range<usize>,
) -> (usize, Vec<Ranked>) {
    let given = similarities.iter().copied().enumerate();
    let mut order: Vec<(usize, Option<f32>)> = given
        .filter(|(_, of)| least.is_none_or(|least| of.is_some_and(|of| of >= least)))
        .collect();
    let by = |a: &(usize, Option<f32>), b: &(usize, Option<f32>)| -> Ordering {
        // Nothing is less like it than −1.
        let [one, other] = [a, b].map(|(_, of)| of.unwrap_or(-2.0));
        other.total_cmp(&one).then(a.0.cmp(&b.0))
    };
    let total = order.len();
    let range = range.start.min(total)..range.end.min(total);
    // Only what is asked for is sorted.
    if range.end < total {
        order.select_nth_unstable_by(range.end, by);
        order.truncate(range.end);
    }
    order.sort_unstable_by(by);
    let wanted = order.drain(range);
    let ranked = wanted.map(|(at, similarity)| (candidates[at], similarity));
    (total, ranked.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Length;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_stable_sort(
            given in prop::collection::vec(prop::option::weighted(0.8, -4i8..=4), 0..40),
            start in 0usize..50, count in 0usize..50, least in prop::option::of(-4i8..=4),
        ) {
            let part = |of: i8| f32::from(of) / 4.0;
            let (given, least): (Vec<_>, _) = (given.into_iter().map(|of| of.map(part)).collect(), least.map(part));
            let hit = |at: usize| Hit { distance: at as u32, length: Length::L24, word: 0, sequence: at as u32 };
            let hits: Vec<Hit> = (0..given.len()).map(hit).collect();
            let range = start..start + count;
            let (total, ranked) = rank(&hits, &given, least, range.clone());
            let mut all: Vec<Ranked> = hits.iter().map(|hit| (*hit, given[hit.sequence as usize])).collect();
            all.retain(|(_, of)| least.is_none_or(|least| of.is_some_and(|of| of >= least)));
            all.sort_by(|a, b| b.1.is_some().cmp(&a.1.is_some()).then(b.1.partial_cmp(&a.1).unwrap()));
            prop_assert_eq!(total, all.len());
            let expected: Vec<Ranked> = all.into_iter().skip(start).take(count).collect();
            prop_assert_eq!(ranked, expected);
        }
    }
}
