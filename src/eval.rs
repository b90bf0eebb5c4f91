//! Retrieval quality of codes: mean average precision over the whole ranking, and precision within a Hamming radius.
//! Knows codes and classes; neither models nor files.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::code::HashCode;

/// A code and the class of its image.
pub type Labelled = (HashCode, usize);

/// Quality at one length. Every figure is a mean over queries, 0…1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// MAP, the expectation over all orders of the images that stand at one distance.
    pub map: f64,
    /// MAP of one seeded order of them.
    pub map_shuffled: f64,
    /// Share of a query's class among the images within Hamming radius 2; an empty ball counts as 0.
    pub precision_radius_2: f64,
}

/// Ranks the whole database for every query. A query of a class the database lacks counts as 0. All codes are of one length.
pub fn quality(queries: &[Labelled], database: &[Labelled], seed: u64) -> Quality {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let chunk = queries.len().div_ceil(cores).max(1);
    let mut shuffled = database.to_vec();
    shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let sums = std::thread::scope(|scope| {
        let parts: Vec<_> = queries
            .chunks(chunk)
            .map(|queries| scope.spawn(|| sum(queries, &shuffled)))
            .collect();
        parts
            .into_iter()
            .filter_map(|part| part.join().ok())
            .collect::<Vec<_>>()
    });
    let n = queries.len().max(1) as f64;
    let mean = |part: fn(&Quality) -> f64| sums.iter().map(part).sum::<f64>() / n;
    Quality {
        map: mean(|q| q.map),
        map_shuffled: mean(|q| q.map_shuffled),
        precision_radius_2: mean(|q| q.precision_radius_2),
    }
}

fn sum(queries: &[Labelled], database: &[Labelled]) -> Quality {
    let mut sum = Quality::default();
    for (code, class) in queries {
        // Per distance, whether each image there is of the query's class, in the database's (shuffled) order.
        let mut rings: Vec<Vec<bool>> = vec![Vec::new(); code.length().bits() + 1];
        for (other, of) in database {
            if let Some(ring) = code.distance(other).and_then(|d| rings.get_mut(d as usize)) {
                ring.push(of == class);
            }
        }
        sum.map += tie_aware(&rings);
        sum.map_shuffled += in_order(&rings);
        let ball = rings[..3].concat();
        if !ball.is_empty() {
            sum.precision_radius_2 += relevant(&ball) / ball.len() as f64;
        }
    }
    sum
}

fn relevant(ring: &[bool]) -> f64 {
    ring.iter().filter(|&&same| same).count() as f64
}

/// AP = (1/R) Σ (R_i/i)·rel_i, its expectation over random orders within each ring (McSherry and Najork, 2008).
fn tie_aware(rings: &[Vec<bool>]) -> f64 {
    let (mut before, mut found, mut total) = (0.0, 0.0, 0.0);
    for ring in rings.iter().filter(|ring| !ring.is_empty()) {
        let (n, r) = (ring.len() as f64, relevant(ring));
        let pace = if ring.len() > 1 {
            (r - 1.0) / (n - 1.0)
        } else {
            0.0
        };
        if r > 0.0 {
            total += (0..ring.len())
                .map(|i| r / n * (found + 1.0 + i as f64 * pace) / (before + 1.0 + i as f64))
                .sum::<f64>();
        }
        before += n;
        found += r;
    }
    if found > 0.0 { total / found } else { 0.0 }
}

fn in_order(rings: &[Vec<bool>]) -> f64 {
    let (mut found, mut total) = (0.0, 0.0);
    for (i, _) in rings
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, same)| **same)
    {
        found += 1.0;
        total += found / (i + 1) as f64;
    }
    if found > 0.0 { total / found } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Length;
    use proptest::prelude::*;

    fn code(word: u64) -> HashCode {
        HashCode::from_word(Length::L24, word)
    }

    #[test]
    fn a_worked_ranking() {
        // Ranks: same, other, same: AP = (1/1 + 2/3) / 2. Within radius 2: the first two.
        let database = [(code(0), 0), (code(1), 1), (code(7), 0)];
        let quality = quality(&[(code(0), 0)], &database, 0);
        assert!((quality.map - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(quality.map, quality.map_shuffled);
        assert_eq!(quality.precision_radius_2, 0.5);
    }

    #[test]
    fn an_empty_ball_counts_as_nothing() {
        let quality = quality(&[(code(0), 0)], &[(code(0xff), 0)], 0);
        assert_eq!((quality.map, quality.precision_radius_2), (1.0, 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        /// The tie-aware AP is the mean over all orders, which for a ring of five can be counted out.
        #[test]
        fn tie_aware_is_the_mean_over_orders(head in prop::collection::vec(any::<bool>(), 0..4), ring in prop::array::uniform5(any::<bool>())) {
            let mut orders = Vec::new();
            permute(&mut ring.to_vec(), 0, &mut orders);
            let one_by_one = |order: &[bool]| head.iter().chain(order).map(|&same| vec![same]).collect::<Vec<_>>();
            let mean = orders.iter().map(|order| in_order(&one_by_one(order))).sum::<f64>() / orders.len() as f64;
            let mut rings: Vec<Vec<bool>> = head.iter().map(|&same| vec![same]).collect();
            rings.push(ring.to_vec());
            prop_assert!((tie_aware(&rings) - mean).abs() < 1e-9);
        }
    }

    fn permute(items: &mut Vec<bool>, from: usize, orders: &mut Vec<Vec<bool>>) {
        if from == items.len() {
            orders.push(items.clone());
        }
        for i in from..items.len() {
            items.swap(from, i);
            permute(items, from + 1, orders);
            items.swap(from, i);
        }
    }
}
