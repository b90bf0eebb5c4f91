//! Hash centres: one code per class, far from each other (Algorithm 1 of the paper). Makes further
//! centres for later classes, and the centroid of several centres.

mod matrix;

use rand::{Rng, SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use scihcgrl_index::code::{HashCode, Length};

use crate::{error::ModelError, options::Centers};

/// The number of seeded draws of rows that are compared for distinct, balanced columns.
const ROW_DRAWS: usize = 2_000;
/// The number of random codes that are tried for one centre before the required distance is
/// lowered.
const CODE_TRIES: usize = 1_000;
/// Maximum number of classes. With more, random codes of 24 bits are hardly apart.
pub const MAX_CLASSES: usize = 1_000;

/// Makes hash centres of `length` for `classes` classes. The same seed makes the same centres.
///
/// # Errors
/// [`ModelError::Classes`] if there are no classes or more than 1,000.
pub fn make(
    method: Centers,
    length: Length,
    classes: usize,
    seed: u64,
) -> Result<Vec<HashCode>, ModelError> {
    if !(1..=MAX_CLASSES).contains(&classes) {
        return Err(ModelError::Classes {
            found: classes,
            max: MAX_CLASSES,
        });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut words = match method {
        Centers::Algorithm1 => algorithm1(length.bits(), classes),
        Centers::Hadamard => hadamard(length.bits(), classes, &mut rng),
    };
    while words.len() < classes {
        words.push(random_apart(&words, length.bits(), &mut rng));
    }
    let code = |word| HashCode::from_word(length, word);
    Ok(words.into_iter().map(code).collect())
}

/// Makes centres for `classes` later classes. The existing centres do not change. Each new centre
/// is the candidate farthest from all earlier ones; the candidates are the rows of [H; −H] and a
/// random code.
///
/// # Errors
/// [`ModelError::Classes`] if there are more than 1,000 classes in total.
pub fn make_more(
    centers: &[HashCode],
    length: Length,
    classes: usize,
    seed: u64,
) -> Result<Vec<HashCode>, ModelError> {
    let found = centers.len() + classes;
    if found > MAX_CLASSES {
        return Err(ModelError::Classes {
            found,
            max: MAX_CLASSES,
        });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut words: Vec<u64> = centers.iter().map(HashCode::word).collect();
    let rows = rows(length.bits());
    for _ in 0..classes {
        let random = random_apart(&words, length.bits(), &mut rng);
        let candidates = rows.iter().copied().chain([random]);
        // Of equally far candidates the first wins, so rows come before random codes.
        let best = candidates
            .rev()
            .max_by_key(|word| least_distance(&words, *word));
        words.extend(best);
    }
    let added = words.drain(centers.len()..);
    Ok(added
        .map(|word| HashCode::from_word(length, word))
        .collect())
}

/// Returns the centre of an image of several classes: the sign of the sum of their centres, bit by
/// bit. As in CSQ, a tied bit comes from one random vector, which the length and the seed
/// determine. Returns `None` if there are no classes or the lengths differ.
pub fn centroid(centers: &[HashCode], seed: u64) -> Option<HashCode> {
    let length = centers.first()?.length();
    if centers.iter().any(|center| center.length() != length) {
        return None;
    }
    let ties: u64 = ChaCha8Rng::seed_from_u64(seed).random();
    let bit = |bit: usize| {
        let ones = centers.iter().filter(|c| c.word() >> bit & 1 == 1).count();
        match (2 * ones).cmp(&centers.len()) {
            std::cmp::Ordering::Greater => 1,
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => ties >> bit & 1,
        }
    };
    let word = (0..length.bits()).fold(0, |word, i| word | bit(i) << i);
    Some(HashCode::from_word(length, word))
}

/// Algorithm 1 as printed: returns the first rows of Sylvester's [H; −H] if the length is a power
/// of two and there are enough rows. Otherwise returns no row, and random codes with half of their
/// bits set follow.
fn algorithm1(bits: usize, classes: usize) -> Vec<u64> {
    if !bits.is_power_of_two() || classes > 2 * bits {
        return Vec::new();
    }
    let rows = matrix::sylvester(bits);
    let negated = rows.iter().map(|row| !row & mask(bits));
    rows.iter().copied().chain(negated).take(classes).collect()
}

/// Draws rows of H, or of [H; −H] if there are more classes, without the constant rows. Two rows of
/// H differ in exactly half of the bits. A row and its negative differ in all bits. Of many seeded
/// draws, returns the one with the most distinct and best balanced columns: a bit carries no
/// information if its column repeats another or is constant over the classes.
fn hadamard(bits: usize, classes: usize, rng: &mut ChaCha8Rng) -> Vec<u64> {
    let rows = rows(bits);
    let pool = if classes < bits { bits - 1 } else { rows.len() };
    if classes >= rows.len() {
        return rows;
    }
    let mut best = (i64::MIN, Vec::new());
    for _ in 0..ROW_DRAWS {
        let drawn = index::sample(rng, pool, classes).into_iter();
        let words: Vec<u64> = drawn.map(|i| rows[i]).collect();
        let score = column_score(&words, bits);
        if score > best.0 {
            best = (score, words);
        }
    }
    best.1
}

/// Returns the rows of H that are not constant, then their negatives. Every code length has an H.
fn rows(bits: usize) -> Vec<u64> {
    let mut rows = matrix::hadamard(bits).unwrap_or_default().split_off(1);
    rows.extend_from_within(..);
    let half = rows.len() / 2;
    rows[half..]
        .iter_mut()
        .for_each(|row| *row = !*row & mask(bits));
    rows
}

/// Draws a random code with half of its bits set. It differs from all others in at least a quarter
/// of the bits, or in as many as can be found (CSQ draws again until a bound holds).
fn random_apart(words: &[u64], bits: usize, rng: &mut ChaCha8Rng) -> u64 {
    let mut bound = bits as u32 / 4;
    loop {
        for _ in 0..CODE_TRIES {
            let ones = index::sample(rng, bits, bits / 2).into_iter();
            let word = ones.fold(0, |word, i| word | 1 << i);
            if least_distance(words, word) >= bound {
                return word;
            }
        }
        bound = bound.saturating_sub(1);
    }
}

/// Returns the distance from `word` to the nearest of `words`, or `u32::MAX` if there are none.
fn least_distance(words: &[u64], word: u64) -> u32 {
    let distances = words.iter().map(|other| (other ^ word).count_ones());
    distances.min().unwrap_or(u32::MAX)
}

fn mask(bits: usize) -> u64 {
    u64::MAX >> (64 - bits)
}

/// Scores a draw by its number of distinct columns, then by balance: the sum, over columns, of the
/// distance of the number of ones from half.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn least_pair_distance(centers: &[HashCode]) -> u32 {
        let pairs = (0..centers.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
        let distances = pairs.map(|(i, j)| centers[i].distance(&centers[j]).unwrap());
        distances.min().unwrap_or(u32::MAX)
    }

    #[test]
    fn ten_classes_have_distinct_columns() {
        for length in Length::ALL {
            let centers = make(Centers::Hadamard, length, 10, 0).unwrap();
            let words: Vec<u64> = centers.iter().map(HashCode::word).collect();
            assert!(column_score(&words, length.bits()) > (length.bits() as i64 - 1) * 1_000_000);
        }
    }

    #[test]
    fn algorithm_1_is_implemented_as_printed() {
        let centers = make(Centers::Algorithm1, Length::L32, 10, 0).unwrap();
        let words: Vec<u64> = centers.iter().map(HashCode::word).collect();
        // Ten rows of Sylvester's matrix have only 16 distinct columns: bits 17 to 32 repeat bits 1
        // to 16.
        assert!((16_000_000 - 999_999..=16_000_000).contains(&column_score(&words, 32)));
        assert_eq!(words[0], 0xffff_ffff);
        for length in [Length::L24, Length::L48] {
            let centers = make(Centers::Algorithm1, length, 10, 0).unwrap();
            assert!(
                centers
                    .iter()
                    .all(|c| c.word().count_ones() as usize == length.bits() / 2)
            );
            assert!(least_pair_distance(&centers) as usize >= length.bits() / 4);
        }
    }

    #[test]
    fn too_many_classes_are_refused() {
        let error = make(Centers::Hadamard, Length::L24, 1001, 0).unwrap_err();
        assert!(error.to_string().contains("1000"), "{error}");
        assert!(make(Centers::Hadamard, Length::L24, 0, 0).is_err());
    }

    #[test]
    fn a_centroid_is_the_majority_and_ties_are_fixed() {
        let code = |word| HashCode::from_word(Length::L24, word);
        let three = [code(0b1100), code(0b1010), code(0b1001)];
        assert_eq!(centroid(&three, 0).unwrap().word(), 0b1000);
        assert_eq!(centroid(&three[..1], 0), Some(three[0]));
        let tied = centroid(&three[..2], 0).unwrap().word();
        assert_eq!(tied & !0b0110, 0b1000);
        assert_eq!(centroid(&three[..2], 0).unwrap().word(), tied);
        assert_eq!(centroid(&[], 0), None);
        let other = HashCode::from_word(Length::L32, 1);
        assert_eq!(centroid(&[three[0], other], 0), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn centres_are_half_the_bits_apart(classes in 1usize..=46, seed: u64, which in 0usize..3) {
            let length = Length::ALL[which];
            let centers = make(Centers::Hadamard, length, classes, seed).unwrap();
            prop_assert_eq!(centers.len(), classes);
            prop_assert_eq!(&centers, &make(Centers::Hadamard, length, classes, seed).unwrap());
            prop_assert!(least_pair_distance(&centers) as usize >= length.bits() / 2);
        }

        #[test]
        fn centres_of_any_number_of_classes_are_distinct(classes in 47usize..300, seed: u64, which in 0usize..3) {
            for method in [Centers::Hadamard, Centers::Algorithm1] {
                let centers = make(method, Length::ALL[which], classes, seed).unwrap();
                prop_assert_eq!(centers.len(), classes);
                prop_assert!(least_pair_distance(&centers) > 0);
            }
        }

        #[test]
        fn centres_of_later_classes_are_far_from_all_others(first in 1usize..20, later in 1usize..20, seed: u64, which in 0usize..3) {
            let length = Length::ALL[which];
            let mut centers = make(Centers::Hadamard, length, first, seed).unwrap();
            let added = make_more(&centers, length, later, seed).unwrap();
            prop_assert_eq!(&added, &make_more(&centers, length, later, seed).unwrap());
            prop_assert_eq!(added.len(), later);
            centers.extend(added);
            // All are rows of one matrix, because it has more rows than there are classes here.
            prop_assert!(least_pair_distance(&centers) as usize >= length.bits() / 2);
        }
    }
}
