//! CNNH (Xia et al., AAAI 2014), in two stages: the matrix of similarities of the training images
//! is factorised into codes, which a network then learns by cross-entropy. The codes do not depend
//! on what the network can distinguish.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use scihcgrl_index::code::HashCode;
use scihcgrl_index::code::Length;
use scihcgrl_model::{
    Card, ModelError,
    options::Train,
    train::objective::{Batch, Objective, Step},
};

use super::csq::Csq;

/// Sweeps over all bits.
const SWEEPS: usize = 5;

/// The second stage's objective.
pub struct Cnnh;

impl Objective for Cnnh {
    fn name(&self) -> &'static str {
        "cnnh"
    }

    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        Csq::without_quantization().step(batch)
    }

    fn has_centers(&self) -> bool {
        false
    }

    fn targets(
        &self,
        config: &Train,
        _card: &Card,
        length: Length,
        sets: &[Vec<usize>],
        labels: &[usize],
    ) -> Vec<HashCode> {
        factorise(sets, labels, length, config.seed)
    }

    fn has_own_targets(&self) -> bool {
        true
    }
}

/// Returns codes H ∈ {−1, 1}^(images × K) that make ‖S − HHᵀ/K‖² small, where S is 1 for images
/// with a class in common and −1 for others: bit by bit, h ← sign(R·h) if that makes hᵀR·h greater,
/// where R is what the other bits leave of K·S. S depends only on sets of classes, so R is never
/// stored. A bit starts as 1 for a random half of the sets: with a random half of the images it
/// would end constant.
pub fn factorise(
    sets: &[Vec<usize>],
    labels: &[usize],
    length: Length,
    seed: u64,
) -> Vec<HashCode> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let bits = length.bits();
    let alike: Vec<Vec<f64>> = sets
        .iter()
        .map(|one| {
            let alike = |other: &Vec<usize>| one.iter().any(|class| other.contains(class));
            sets.iter()
                .map(|other| if alike(other) { 1.0 } else { -1.0 })
                .collect()
        })
        .collect();
    let mut codes: Vec<Vec<f64>> = (0..bits)
        .map(|_| {
            let mut half: Vec<usize> = (0..sets.len()).collect();
            half.shuffle(&mut rng);
            half.truncate(sets.len() / 2);
            let sign = |set| if half.contains(set) { 1.0 } else { -1.0 };
            labels.iter().map(sign).collect()
        })
        .collect();
    for bit in (0..bits).cycle().take(SWEEPS * bits) {
        let left = |h: &[f64]| -> Vec<f64> {
            let mut sums = vec![0.0; sets.len()];
            labels
                .iter()
                .zip(h)
                .for_each(|(&set, value)| sums[set] += value);
            let by_set: Vec<f64> = alike
                .iter()
                .map(|row| bits as f64 * dot(row, &sums))
                .collect();
            let mut left: Vec<f64> = labels.iter().map(|&set| by_set[set]).collect();
            for other in (0..bits).filter(|&other| other != bit) {
                let product = dot(&codes[other], h);
                left.iter_mut()
                    .zip(&codes[other])
                    .for_each(|(left, value)| *left -= value * product);
            }
            left
        };
        let before = left(&codes[bit]);
        let signs: Vec<f64> = before
            .iter()
            .map(|&left| if left >= 0.0 { 1.0 } else { -1.0 })
            .collect();
        if dot(&left(&signs), &signs) > dot(&before, &codes[bit]) {
            codes[bit] = signs;
        }
    }
    (0..labels.len())
        .map(|image| {
            let word = (0..bits).fold(0, |word, bit| {
                word | u64::from(codes[bit][image] > 0.0) << bit
            });
            HashCode::from_word(length, word)
        })
        .collect()
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_a_class_get_codes_near_each_other() {
        let sets: Vec<Vec<usize>> = (0..6).map(|class| vec![class]).collect();
        let labels: Vec<usize> = (0..120).map(|image| image % 6).collect();
        let codes = factorise(&sets, &labels, Length::L24, 1);
        let mean = |same: bool| {
            let pairs = (0..120).flat_map(|i| (0..i).map(move |j| (i, j)));
            let pairs = pairs.filter(|&(i, j)| (labels[i] == labels[j]) == same);
            let distances: Vec<f64> = pairs
                .map(|(i, j)| f64::from(codes[i].distance(&codes[j]).unwrap()))
                .collect();
            distances.iter().sum::<f64>() / distances.len() as f64
        };
        assert!(
            mean(true) < 3.0 && mean(false) > 10.0,
            "{} {}",
            mean(true),
            mean(false)
        );
    }
}
