//! How much of their length codes use: distinct codes and entropies.
//! Knows codes only; what they stand for does not matter here.

use std::collections::HashMap;

use super::Labelled;

/// How many codes there are, and the entropy in bits of the share of images that have each.
pub(super) fn distinct(database: &[Labelled]) -> (usize, f64) {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for (code, _) in database {
        *counts.entry(code.word()).or_default() += 1;
    }
    // In an order of its own a sum would differ in its last digits from run to run.
    let mut of_each: Vec<usize> = counts.into_values().collect();
    of_each.sort_unstable();
    let entropy = of_each
        .iter()
        .map(|&count| surprise(count as f64 / database.len() as f64))
        .sum();
    (of_each.len(), entropy)
}

/// The binary entropy of each bit's share of ones, the mean over bits.
pub(super) fn bit_entropy(database: &[Labelled]) -> f64 {
    let Some((first, _)) = database.first() else {
        return 0.0;
    };
    let bits = first.length().bits();
    let entropy = |bit: usize| {
        let ones = database
            .iter()
            .filter(|(code, _)| code.word() >> bit & 1 == 1);
        let share = ones.count() as f64 / database.len() as f64;
        surprise(share) + surprise(1.0 - share)
    };
    (0..bits).map(entropy).sum::<f64>() / bits as f64
}

/// −p·log₂ p, and its limit 0 at p = 0.
fn surprise(p: f64) -> f64 {
    if p > 0.0 { -p * p.log2() } else { 0.0 }
}
