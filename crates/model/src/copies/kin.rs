//! How well pictures find those of their kind and those near by features, and from which similarity on two are kin.
//! Knows scores and labels; neither changed copies nor how a picture is encoded.

use serde_json::{Value, json};

use super::{Asked, Encoded, Sums, scores};
use crate::eval::order;
use crate::model::Hasher;
use scihcgrl_index::Order;

/// The share of right ones among pairs that count as kin.
const PRECISION: f64 = 0.9;
/// So many pairs of kin, and as many of others, are the fewest that a threshold is made from.
const ENOUGH: usize = 100;

/// From which similarity on two pictures are kin, and the share of kin that it finds. None if few pairs are known, or if so many of all pairs
/// are kin that similarity says nothing.
fn threshold(pairs: Vec<(f32, bool)>) -> Option<(f32, f64)> {
    let right = pairs.iter().filter(|(_, is_kin)| *is_kin).count();
    let is_telling = right >= ENOUGH
        && pairs.len() - right >= ENOUGH
        && (right as f64) < PRECISION * pairs.len() as f64;
    let found = order::precise(pairs, PRECISION).filter(|_| is_telling);
    found.filter(|(_, recall)| *recall >= 0.1)
}

/// How well pictures find those of their kind, and those near by features.
pub(super) fn measure(
    hasher: &Hasher,
    asked: &Asked<'_>,
    gallery: &Encoded,
    queries: &[usize],
) -> anyhow::Result<Value> {
    let classes = |number: usize| &asked.sets[asked.items[gallery.numbers[number]].set];
    let kinds = asked.sets.iter().filter(|classes| !classes.is_empty());
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
        let near = order::first(&scores.cosines, query, 10);
        let searched = scores.searched();
        let by_code = order::by_distance(&scores.distances);
        for (order, scores) in [("search", &searched), ("code", &by_code)] {
            for count in [10, 100] {
                add(
                    &format!("agreement_{order}_{count}"),
                    order::found(scores, query, &near, count),
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
        add("map_search", map(&searched));
        let candidates = &order::searched(&scores.distances, &scores.similarities, Order::USUAL);
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
                map(&order::by_distance(&distances)),
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
    fn a_threshold_of_kin_needs_pairs_that_tell() {
        let pairs = |kin: usize, others: usize| {
            let kin = (0..kin).map(|at| (0.9 - at as f32 * 1e-5, true));
            let others = (0..others).map(|at| (0.1 + at as f32 * 1e-5, false));
            kin.chain(others).collect::<Vec<_>>()
        };
        let (from, recall) = threshold(pairs(200, 400)).unwrap();
        assert!(from > 0.1 && recall == 1.0, "{from} {recall}");
        // One label on nearly all, and few labels.
        assert_eq!(threshold(pairs(5000, 200)), None);
        assert_eq!(threshold(pairs(50, 400)), None);
        assert_eq!(threshold(pairs(200, 50)), None);
    }
}
