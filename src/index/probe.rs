//! Exact radius search over distinct codes: which are near, and the part of their postings a page of answers shows.
//! Pure; knows no sled, no records, and of labels only whether a posting is wanted.

use std::borrow::Cow;

/// A distinct code within the radius; ordered as answers are, by distance, then code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// How far it is.
    pub distance: u32,
    /// The code.
    pub word: u64,
    /// Where its postings are.
    pub slot: usize,
}

/// An image found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// How far its code is.
    pub distance: u32,
    /// Its sequence number.
    pub sequence: u64,
}

/// All of `words` no farther than `radius` from `word`, in order.
pub fn within(words: &[u64], word: u64, radius: u32) -> Vec<Candidate> {
    let mut near: Vec<Candidate> = words
        .iter()
        .enumerate()
        .map(|(slot, &other)| Candidate {
            distance: (word ^ other).count_ones(),
            word: other,
            slot,
        })
        .filter(|candidate| candidate.distance <= radius)
        .collect();
    near.sort_unstable();
    near
}

/// How many wanted postings the candidates have, and those of them from `offset` on, at most `limit`.
/// Without a filter only the postings shown are touched.
pub fn window<'a>(
    near: &[Candidate],
    postings: impl Fn(usize) -> &'a [u64],
    wanted: Option<impl Fn(u64) -> bool>,
    offset: usize,
    limit: usize,
) -> (u64, Vec<Hit>) {
    let (mut total, mut hits) = (0, Vec::new());
    for candidate in near {
        let kept = match &wanted {
            None => Cow::Borrowed(postings(candidate.slot)),
            Some(wanted) => postings(candidate.slot)
                .iter()
                .copied()
                .filter(|&posting| wanted(posting))
                .collect(),
        };
        let shown = kept
            .iter()
            .skip(offset.saturating_sub(total))
            .take(limit - hits.len());
        hits.extend(shown.map(|&sequence| Hit {
            distance: candidate.distance,
            sequence,
        }));
        total += kept.len();
    }
    (total as u64, hits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_sorting_everything(
            lists in prop::collection::btree_map(0u64..256, prop::collection::btree_set(0u64..1000, 1..6), 0..40),
            word in 0u64..256, radius in 0u32..9, offset in 0usize..60, limit in 0usize..60, modulus in 1u64..4,
        ) {
            let words: Vec<u64> = lists.keys().copied().collect();
            let postings: Vec<Vec<u64>> = lists.values().map(|set| set.iter().copied().collect()).collect();
            let mut all: Vec<(u32, u64, u64)> = lists.iter()
                .flat_map(|(code, set)| set.iter().map(|posting| ((word ^ *code).count_ones(), *code, *posting)))
                .filter(|&(distance, _, posting)| distance <= radius && posting % modulus == 0)
                .collect();
            all.sort_unstable();
            let wanted = (modulus > 1).then_some(|posting: u64| posting.is_multiple_of(modulus));
            let near = within(&words, word, radius);
            let (total, hits) = window(&near, |slot| &postings[slot], wanted, offset, limit);
            let shown: Vec<Hit> = all.iter().skip(offset).take(limit)
                .map(|&(distance, _, sequence)| Hit { distance, sequence }).collect();
            prop_assert_eq!((total, hits), (all.len() as u64, shown));
        }
    }
}
