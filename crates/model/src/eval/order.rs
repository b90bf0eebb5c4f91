//! Rates an order of images for one query: ranks, average precision, and thresholds of similarity.
//! Earlier images have higher scores.

use crate::eval::ranking::{self, Ring};

/// The rank of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// Number of images before it.
    pub before: usize,
    /// Number of other images with the same score.
    pub tied: usize,
}

impl Rank {
    /// Returns the probability that it is among the first `count` images, over the orders of images
    /// with its score.
    pub fn probability_within(&self, count: usize) -> f64 {
        let left = count.saturating_sub(self.before) as f64;
        (left / (self.tied + 1) as f64).min(1.0)
    }
}

/// Returns the scores of a search by similarity. The candidates are the nearest images by distance:
/// `candidates` of them, and all others at the distance of the last one. Candidates are ordered by
/// similarity. The other images follow by distance.
pub fn search_scores(distances: &[u32], similarities: &[f32], candidates: usize) -> Vec<f32> {
    let mut sorted = distances.to_vec();
    let farthest = if candidates < sorted.len() && candidates > 0 {
        *sorted.select_nth_unstable(candidates - 1).1
    } else {
        u32::MAX
    };
    let scored = distances.iter().zip(similarities);
    scored
        .map(|(&distance, &similarity)| {
            if distance <= farthest {
                2.0 + similarity
            } else {
                -(distance as f32)
            }
        })
        .collect()
}

/// Returns the scores of a search by distance.
pub fn distance_scores(distances: &[u32]) -> Vec<f32> {
    distances
        .iter()
        .map(|&distance| -(distance as f32))
        .collect()
}

/// Returns the rank of an image.
pub fn rank(scores: &[f32], number: usize) -> Rank {
    let own = scores[number];
    let count = |is: &dyn Fn(f32) -> bool| scores.iter().filter(|&&score| is(score)).count();
    Rank {
        before: count(&|score| score > own),
        tied: count(&|score| score == own) - 1,
    }
}

/// Returns the numbers of the `count` highest scores, without that of `own`.
pub fn top(scores: &[f32], own: usize, count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..scores.len()).filter(|&number| number != own).collect();
    let count = count.min(numbers.len());
    if count < numbers.len() {
        numbers.select_nth_unstable_by(count, |&one, &other| scores[other].total_cmp(&scores[one]));
    }
    numbers.truncate(count);
    numbers
}

/// Returns the share of the `wanted` images that are among the first `count` without `own`, in
/// expectation over the orders of images with equal scores.
pub fn share_within(scores: &[f32], own: usize, wanted: &[usize], count: usize) -> f64 {
    let probability_within = wanted.iter().map(|&number| {
        let mut rank = rank(scores, number);
        rank.before -= usize::from(scores[own] > scores[number]);
        rank.tied -= usize::from(scores[own] == scores[number]);
        rank.probability_within(count)
    });
    probability_within.sum::<f64>() / wanted.len().max(1) as f64
}

/// Returns the average precision over all images but `own`, in expectation over the orders of
/// images with equal scores. Leaves out images of unknown relevance (`None`). Returns 0 if no image
/// is relevant.
pub fn average_precision(
    scores: &[f32],
    own: usize,
    relevant: impl Fn(usize) -> Option<bool>,
) -> f64 {
    let is_known = |number: &usize| *number != own && relevant(*number).is_some();
    let mut numbers: Vec<usize> = (0..scores.len()).filter(is_known).collect();
    numbers.sort_unstable_by(|&one, &other| scores[other].total_cmp(&scores[one]));
    let rings = numbers
        .chunk_by(|&one, &other| scores[one] == scores[other])
        .map(|ring| Ring {
            images: ring.len() as u32,
            relevant: ring
                .iter()
                .filter(|&&number| relevant(number) == Some(true))
                .count() as u32,
        });
    ranking::average_precision(rings, &ranking::harmonic(numbers.len()))
}

/// Returns the lowest threshold that at most `allowed` of these similarities reach.
pub fn threshold_allowing(mut similarities: Vec<f32>, allowed: usize) -> f32 {
    if allowed >= similarities.len() {
        return -1.0;
    }
    let descending = |one: &f32, other: &f32| other.total_cmp(one);
    let next = *similarities.select_nth_unstable_by(allowed, descending).1;
    next.next_up()
}

/// Returns the lowest threshold of similarity at and above which at least the share `precision` of
/// pairs is right, and the share of right pairs that reach it. Returns `None` if no threshold does.
pub fn threshold_of_precision(mut pairs: Vec<(f32, bool)>, precision: f64) -> Option<(f32, f64)> {
    pairs.sort_unstable_by(|(one, _), (other, _)| other.total_cmp(one));
    let all = pairs.iter().filter(|(_, right)| *right).count();
    let (mut seen, mut right, mut best) = (0, 0, None);
    for pairs in pairs.chunk_by(|(one, _), (other, _)| one == other) {
        seen += pairs.len();
        right += pairs.iter().filter(|(_, right)| *right).count();
        if right as f64 >= precision * seen as f64 {
            best = Some((pairs[0].0, right as f64 / all.max(1) as f64));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_ordered_by_similarity_and_others_by_distance() {
        let (distances, similarities) = ([0, 3, 1, 3, 9], [0.1, 0.9, 0.5, 0.8, 1.0]);
        let order = |candidates| {
            let scores = search_scores(&distances, &similarities, candidates);
            let mut numbers: Vec<usize> = (0..5).collect();
            numbers.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
            numbers
        };
        assert_eq!(order(5), [4, 1, 3, 2, 0]);
        assert_eq!(order(2), [2, 0, 1, 3, 4]);
        // The cut falls within a distance: all images at it are candidates.
        assert_eq!(order(3), [1, 3, 2, 0, 4]);
        assert_eq!(distance_scores(&distances), [0.0, -3.0, -1.0, -3.0, -9.0]);
    }

    #[test]
    fn ranks_are_expectations_over_ties() {
        let scores = [5.0, 4.0, 4.0, 4.0, 1.0];
        let tied = rank(&scores, 2);
        assert_eq!(tied, Rank { before: 1, tied: 2 });
        assert_eq!(
            [1, 2, 3, 4].map(|count| tied.probability_within(count)),
            [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]
        );
        assert_eq!(rank(&scores, 0).probability_within(1), 1.0);
        let mut found_first = top(&scores, 0, 3);
        found_first.sort_unstable();
        assert_eq!(found_first, [1, 2, 3]);
        assert_eq!(share_within(&scores, 1, &[0, 4], 1), 0.5);
        assert_eq!(share_within(&scores, 1, &[2, 3], 2), 0.5);
        // Without its own: 5, 4, 4, 1, of which the third is relevant, at rank 2 or 3.
        let ap = average_precision(&scores, 1, |number| Some(number == 3));
        assert!(
            (ap - f64::midpoint(1.0 / 2.0, 1.0 / 3.0)).abs() < 1e-12,
            "{ap}"
        );
        assert_eq!(average_precision(&scores, 1, |_| Some(false)), 0.0);
        // Images of unknown relevance do not count.
        let known = |number: usize| (number == 3).then_some(true);
        assert_eq!(average_precision(&scores, 1, known), 1.0);
    }

    #[test]
    fn thresholds_allow_no_more_than_asked_for() {
        let similarities = vec![0.1, 0.9, 0.5, 0.7];
        for (allowed, reached) in [(0, 0), (1, 1), (2, 2), (9, 4)] {
            let threshold = threshold_allowing(similarities.clone(), allowed);
            assert_eq!(
                similarities.iter().filter(|&&one| one >= threshold).count(),
                reached
            );
        }
        let pairs = vec![
            (0.9, true),
            (0.8, true),
            (0.7, false),
            (0.6, true),
            (0.5, false),
            (0.4, true),
        ];
        assert_eq!(
            threshold_of_precision(pairs.clone(), 0.75),
            Some((0.6, 0.75))
        );
        assert_eq!(threshold_of_precision(pairs.clone(), 1.0), Some((0.8, 0.5)));
        assert_eq!(threshold_of_precision(vec![(0.9, false)], 0.5), None);
    }
}
