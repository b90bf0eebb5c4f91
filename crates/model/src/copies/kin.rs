//! Measures how well images find images of the same kind and their nearest neighbours by features,
//! and the similarity at and above which two images are kin.

use scihcgrl_index::Order;
use serde_json::{Value, json};

use crate::{
    copies::{
        encoded::{Encoded, TestSet},
        scores::{Sums, scores},
    },
    eval::order,
    hasher::Hasher,
};

/// Required share of pairs of one kind among the pairs that count as kin.
const KIN_PRECISION: f64 = 0.9;
/// Minimum number of pairs of kin, and of other pairs, for a threshold.
const MIN_PAIRS: usize = 100;

/// Returns the similarity at and above which two images are kin, and the share of kin that it
/// finds. Returns `None` if few pairs are known, or if nearly all pairs are kin, because similarity
/// then says nothing.
fn threshold(pairs: Vec<(f32, bool)>) -> Option<(f32, f64)> {
    let right = pairs.iter().filter(|(_, is_kin)| *is_kin).count();
    let is_meaningful = right >= MIN_PAIRS
        && pairs.len() - right >= MIN_PAIRS
        && (right as f64) < KIN_PRECISION * pairs.len() as f64;
    let found = order::threshold_of_precision(pairs, KIN_PRECISION).filter(|_| is_meaningful);
    found.filter(|(_, recall)| *recall >= 0.1)
}

/// Measures how well images find images of the same kind, and their nearest neighbours by features.
pub(crate) fn measure(
    hasher: &Hasher,
    set: &TestSet<'_>,
    gallery: &Encoded,
    queries: &[usize],
) -> anyhow::Result<Value> {
    let classes = |number: usize| &set.sets[set.items[gallery.numbers[number]].set];
    let kinds = set.sets.iter().filter(|classes| !classes.is_empty());
    let labelled = kinds.count() > 1;
    let is_kin = |one: usize, other: usize| {
        let (one, other) = (classes(one), classes(other));
        (!other.is_empty()).then(|| one.iter().any(|class| other.contains(class)))
    };
    let lengths = &hasher.card().lengths;
    let mut sums = Sums::default();
    let mut add = |name: &str, value: f64| sums.add(name, value);
    let mut pairs = Vec::new();
    for &query in queries {
        let scores = scores(gallery, gallery, query)?;
        let near = order::top(&scores.cosines, query, 10);
        let search_scores = scores.search_scores();
        let by_code = order::distance_scores(&scores.distances);
        for (order, scores) in [("search", &search_scores), ("code", &by_code)] {
            for count in [10, 100] {
                add(
                    &format!("agreement_{order}_{count}"),
                    order::share_within(scores, query, &near, count),
                );
            }
        }
        let has_kin = || {
            (0..gallery.numbers.len())
                .any(|other| other != query && is_kin(query, other) == Some(true))
        };
        if !labelled || classes(query).is_empty() || !has_kin() {
            continue;
        }
        let map =
            |scores: &[f32]| order::average_precision(scores, query, |other| is_kin(query, other));
        add("map_search", map(&search_scores));
        let candidates = &order::search_scores(
            &scores.distances,
            &scores.similarities,
            Order::DEFAULT_CANDIDATES,
        );
        add("map_candidates", map(candidates));
        add("map_floats", map(&scores.cosines));
        for (head, length) in lengths.iter().enumerate() {
            let code = gallery.codes[query][head].word();
            let distances: Vec<u32> = gallery
                .codes
                .iter()
                .map(|codes| (code ^ codes[head].word()).count_ones())
                .collect();
            add(
                &format!("map_{length}"),
                map(&order::distance_scores(&distances)),
            );
        }
        let others = (0..gallery.numbers.len()).filter(|&other| other != query);
        pairs.extend(
            others.filter_map(|other| Some((scores.similarities[other], is_kin(query, other)?))),
        );
    }
    let mut figures = sums.means();
    let found = threshold(pairs);
    figures.insert("queries".to_owned(), json!(queries.len()));
    figures.insert("threshold".to_owned(), json!(found.map(|(from, _)| from)));
    figures.insert("recall".to_owned(), json!(found.map(|(_, recall)| recall)));
    Ok(figures.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kin_threshold_needs_enough_pairs_with_and_without_kin() {
        let pairs = |kin: usize, others: usize| {
            let kin = (0..kin).map(|at| (0.9 - at as f32 * 1e-5, true));
            let others = (0..others).map(|at| (0.1 + at as f32 * 1e-5, false));
            kin.chain(others).collect::<Vec<_>>()
        };
        let (from, recall) = threshold(pairs(200, 400)).unwrap();
        assert!(from > 0.1 && recall == 1.0, "{from} {recall}");
        // One label on almost all images, and few labels.
        assert_eq!(threshold(pairs(5000, 200)), None);
        assert_eq!(threshold(pairs(50, 400)), None);
        assert_eq!(threshold(pairs(200, 50)), None);
    }
}
