//! Hash centres: one code per class, as far from each other as a Hadamard matrix allows (Algorithm 1 of the paper).
//! Knows class counts and lengths only; neither images nor networks.

use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;

use super::ModelError;
use crate::code::{HashCode, Length};

/// How many seeded draws of rows are compared for distinct, balanced columns.
const DRAWS: usize = 2_000;

/// Hash centres for `classes` classes at `length`: rows of the Hadamard matrix H of order K = 24, 32 or 48, then of −H where
/// there are more than K − 1. Two rows of H differ in exactly K/2 bits; a row and its negative in K.
///
/// All three orders are q + 1 for a prime q ≡ 3 (mod 4), so Paley's first construction serves each. The constant row 0 is
/// never used, and of many seeded draws of rows the one with the most distinct, best balanced columns is taken: a column
/// that repeats another, or is constant over the classes, is a bit that says nothing new.
///
/// # Errors
/// [`ModelError::Classes`] for no class, or more than 2K − 2.
pub fn hadamard(length: Length, classes: usize, seed: u64) -> Result<Vec<HashCode>, ModelError> {
    let most = 2 * (length.bits() - 1);
    if classes == 0 || classes > most {
        return Err(ModelError::Classes {
            found: classes,
            most,
        });
    }
    let rows = paley(length.bits());
    let row = |i: usize| {
        let word = rows[i % (rows.len() - 1) + 1];
        if i < rows.len() - 1 { word } else { !word }
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let pool = if classes < rows.len() {
        rows.len() - 1
    } else {
        most
    };
    let mut best = (i64::MIN, Vec::new());
    for _ in 0..DRAWS {
        let words: Vec<u64> = index::sample(&mut rng, pool, classes)
            .into_iter()
            .map(row)
            .collect();
        let score = column_score(&words, length.bits());
        if score > best.0 {
            best = (score, words);
        }
    }
    Ok(best
        .1
        .into_iter()
        .map(|word| HashCode::from_word(length, word))
        .collect())
}

/// Distinct columns first, then balance: the sum over columns of how far the count of ones is from half.
fn column_score(words: &[u64], bits: usize) -> i64 {
    let mut columns: Vec<Vec<bool>> = (0..bits)
        .map(|bit| words.iter().map(|word| word >> bit & 1 == 1).collect())
        .collect();
    let imbalance: i64 = columns
        .iter()
        .map(|column| {
            let ones = column.iter().filter(|&&one| one).count();
            (2 * ones as i64 - words.len() as i64).abs()
        })
        .sum();
    columns.sort();
    columns.dedup();
    columns.len() as i64 * 1_000_000 - imbalance
}

/// Paley's first construction for K = q + 1, q prime and ≡ 3 (mod 4): H = I + S with S skew, made of quadratic residues.
/// Row r as the low K bits of a word, column c at bit c, one for +1.
fn paley(order: usize) -> Vec<u64> {
    let q = order - 1;
    let residue: Vec<bool> = (0..q).map(|x| (1..q).any(|y| y * y % q == x)).collect();
    (0..order)
        .map(|r| {
            (0..order)
                .filter(|&c| match (r, c) {
                    (0, _) => true,
                    (_, 0) => false,
                    (r, c) => r == c || residue[(q + c - r) % q],
                })
                .fold(0, |word, c| word | 1 << c)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_orthogonal() {
        for length in Length::ALL {
            let rows = paley(length.bits());
            for (i, a) in rows.iter().enumerate() {
                for b in &rows[..i] {
                    assert_eq!((a ^ b).count_ones() as usize, length.bits() / 2);
                }
            }
        }
    }

    #[test]
    fn ten_classes_have_distinct_columns() {
        for length in Length::ALL {
            let words: Vec<u64> = hadamard(length, 10, 0)
                .unwrap()
                .iter()
                .map(HashCode::word)
                .collect();
            assert!(column_score(&words, length.bits()) > (length.bits() as i64 - 1) * 1_000_000);
        }
    }

    #[test]
    fn too_many_classes_are_named() {
        assert!(
            hadamard(Length::L24, 47, 0)
                .unwrap_err()
                .to_string()
                .contains("46")
        );
        assert!(hadamard(Length::L24, 0, 0).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn centres_stand_half_the_bits_apart(classes in 1usize..=46, seed: u64, which in 0usize..3) {
            let length = Length::ALL[which];
            let centres = hadamard(length, classes, seed).unwrap();
            prop_assert_eq!(&centres, &hadamard(length, classes, seed).unwrap());
            for (i, a) in centres.iter().enumerate() {
                for b in &centres[..i] {
                    prop_assert!(a.distance(b).unwrap() as usize >= length.bits() / 2);
                }
            }
        }
    }
}
