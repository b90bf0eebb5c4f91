//! What the order of a search is worth to one query: where an image stands, how early relevant ones come, from which similarity two images
//! are alike. Knows scores, higher for what comes earlier; neither codes nor sketches.

use super::ranking::{self, Ring};

/// Where an image stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// How many come before it.
    pub before: usize,
    /// How many have its score.
    pub beside: usize,
}

impl Place {
    /// The probability that it is among the first `count`, over the orders of those with its score.
    pub fn among(&self, count: usize) -> f64 {
        let left = count.saturating_sub(self.before) as f64;
        (left / (self.beside + 1) as f64).min(1.0)
    }
}

/// The scores of a search in order of similarity: the nearest `candidates` by distance, with all at the last one's distance, by
/// similarity, and the others after them by distance.
pub fn searched(distances: &[u32], similarities: &[f32], candidates: usize) -> Vec<f32> {
    let mut sorted = distances.to_vec();
    let farthest = match candidates < sorted.len() && candidates > 0 {
        true => *sorted.select_nth_unstable(candidates - 1).1,
        false => u32::MAX,
    };
    let scored = distances.iter().zip(similarities);
    scored
        .map(|(&distance, &similarity)| match distance <= farthest {
            true => 2.0 + similarity,
            false => -(distance as f32),
        })
        .collect()
}

/// The scores of a search in order of distance.
pub fn by_distance(distances: &[u32]) -> Vec<f32> {
    distances
        .iter()
        .map(|&distance| -(distance as f32))
        .collect()
}

/// Where the image of a number stands.
pub fn place(scores: &[f32], number: usize) -> Place {
    let own = scores[number];
    let count = |is: &dyn Fn(f32) -> bool| scores.iter().filter(|&&score| is(score)).count();
    Place {
        before: count(&|score| score > own),
        beside: count(&|score| score == own) - 1,
    }
}

/// The numbers of the `count` highest scores, without that of `own`.
pub fn first(scores: &[f32], own: usize, count: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..scores.len()).filter(|&number| number != own).collect();
    let count = count.min(numbers.len());
    if count < numbers.len() {
        numbers.select_nth_unstable_by(count, |&one, &other| scores[other].total_cmp(&scores[one]));
    }
    numbers.truncate(count);
    numbers
}

/// The share of some images that are among the first `count` but `own`, in expectation over the orders of those of one score.
pub fn found(scores: &[f32], own: usize, wanted: &[usize], count: usize) -> f64 {
    let among = wanted.iter().map(|&number| {
        let mut place = place(scores, number);
        place.before -= usize::from(scores[own] > scores[number]);
        place.beside -= usize::from(scores[own] == scores[number]);
        place.among(count)
    });
    among.sum::<f64>() / wanted.len().max(1) as f64
}

/// Average precision over all images but `own`, leaving out those of unknown relevance (`None`), in expectation over the orders of those of
/// one score. 0 if none is relevant.
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

/// The least similarity that at most `allowed` of some similarities reach, just above the next.
pub fn above(mut similarities: Vec<f32>, allowed: usize) -> f32 {
    if allowed >= similarities.len() {
        return -1.0;
    }
    let descending = |one: &f32, other: &f32| other.total_cmp(one);
    let next = *similarities.select_nth_unstable_by(allowed, descending).1;
    next.next_up()
}

/// From which similarity at least a share `precision` of pairs are right, and the share of right pairs that it finds; the lowest such
/// similarity. None if there is none.
pub fn precise(mut pairs: Vec<(f32, bool)>, precision: f64) -> Option<(f32, f64)> {
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
    fn candidates_come_by_similarity_and_others_by_distance() {
        let (distances, similarities) = ([0, 3, 1, 3, 9], [0.1, 0.9, 0.5, 0.8, 1.0]);
        let order = |candidates| {
            let scores = searched(&distances, &similarities, candidates);
            let mut numbers: Vec<usize> = (0..5).collect();
            numbers.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
            numbers
        };
        assert_eq!(order(5), [4, 1, 3, 2, 0]);
        assert_eq!(order(2), [2, 0, 1, 3, 4]);
        // The cut goes through a distance: all of it are candidates.
        assert_eq!(order(3), [1, 3, 2, 0, 4]);
        assert_eq!(by_distance(&distances), [0.0, -3.0, -1.0, -3.0, -9.0]);
    }

    #[test]
    fn places_are_expectations_over_ties() {
        let scores = [5.0, 4.0, 4.0, 4.0, 1.0];
        let tied = place(&scores, 2);
        assert_eq!(
            tied,
            Place {
                before: 1,
                beside: 2
            }
        );
        assert_eq!(
            [1, 2, 3, 4].map(|count| tied.among(count)),
            [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]
        );
        assert_eq!(place(&scores, 0).among(1), 1.0);
        let mut found_first = first(&scores, 0, 3);
        found_first.sort_unstable();
        assert_eq!(found_first, [1, 2, 3]);
        assert_eq!(found(&scores, 1, &[0, 4], 1), 0.5);
        assert_eq!(found(&scores, 1, &[2, 3], 2), 0.5);
        // Without its own: 5, 4, 4, 1 with the third relevant: at rank 2 or 3.
        let ap = average_precision(&scores, 1, |number| Some(number == 3));
        assert!((ap - (1.0 / 2.0 + 1.0 / 3.0) / 2.0).abs() < 1e-12, "{ap}");
        assert_eq!(average_precision(&scores, 1, |_| Some(false)), 0.0);
        // What nothing is known of is in nobody's way.
        let known = |number: usize| (number == 3).then_some(true);
        assert_eq!(average_precision(&scores, 1, known), 1.0);
    }

    #[test]
    fn thresholds_keep_to_what_is_allowed() {
        let similarities = vec![0.1, 0.9, 0.5, 0.7];
        for (allowed, reached) in [(0, 0), (1, 1), (2, 2), (9, 4)] {
            let from = above(similarities.clone(), allowed);
            assert_eq!(
                similarities.iter().filter(|&&one| one >= from).count(),
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
        assert_eq!(precise(pairs.clone(), 0.75), Some((0.6, 0.75)));
        assert_eq!(precise(pairs.clone(), 1.0), Some((0.8, 0.5)));
        assert_eq!(precise(vec![(0.9, false)], 0.5), None);
    }
}
