//! Measures how well codes use their length: distinct codes and entropies.

use std::collections::HashMap;

use crate::eval::ranking::LabelledCode;

/// Returns the number of distinct codes, and the entropy in bits of their distribution over images.
pub(crate) fn distinct(database: &[LabelledCode]) -> (usize, f64) {
    let mut counts: HashMap<u64, usize> = HashMap::new();
    for (code, _) in database {
        *counts.entry(code.word()).or_default() += 1;
    }
    // Sorted, because in the map's order the last digits of the sum would differ from run to run.
    let mut of_each: Vec<usize> = counts.into_values().collect();
    of_each.sort_unstable();
    let entropy = of_each
        .iter()
        .map(|&count| entropy_term(count as f64 / database.len() as f64))
        .sum();
    (of_each.len(), entropy)
}

/// Returns the binary entropy of each bit's share of ones, averaged over bits.
pub(crate) fn bit_entropy(database: &[LabelledCode]) -> f64 {
    let Some((first, _)) = database.first() else {
        return 0.0;
    };
    let bits = first.length().bits();
    let entropy = |bit: usize| {
        let ones = database
            .iter()
            .filter(|(code, _)| code.word() >> bit & 1 == 1);
        let share = ones.count() as f64 / database.len() as f64;
        entropy_term(share) + entropy_term(1.0 - share)
    };
    (0..bits).map(entropy).sum::<f64>() / bits as f64
}

/// −p·log₂ p, and its limit 0 at p = 0.
fn entropy_term(p: f64) -> f64 {
    if p > 0.0 { -p * p.log2() } else { 0.0 }
}
