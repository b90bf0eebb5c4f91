//! What becomes of rankings beyond one number: by radius, by the length of the list, by class.
//! Knows rankings and whose they are; counts nothing itself.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Labelled, RADIUS, ranking::Ranking};

/// One point of the precision–recall curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AtRadius {
    /// The Hamming radius.
    pub radius: usize,
    /// Share of queries that have an image within the radius.
    pub answered: f64,
    /// Share of relevant images within the radius, the mean over the queries answered: an empty ball is left out, and
    /// `answered * precision` is the mean in which it counts as 0. Is 0 where no query is answered.
    pub precision: f64,
    /// Share of the relevant images that are within the radius, the mean over all queries: an empty ball counts as 0.
    pub recall: f64,
}

/// Precision among the first n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PrecisionAt {
    /// How many of the nearest images.
    pub n: usize,
    /// Share of relevant ones, in expectation over the orders of images at one distance; the mean over queries.
    pub precision: f64,
}

/// The queries of one class; one of several classes counts in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OfClass {
    /// The class's number.
    pub class: usize,
    /// How many queries have it.
    pub queries: usize,
    /// Their MAP, tie-aware. Relevant is what shares any class with the query.
    pub map: f64,
    /// Their precision within Hamming radius 2; an empty ball counts as 0.
    pub precision_radius_2: f64,
}

pub(super) fn by_radius(queries: &[Labelled], ranked: &[Ranking]) -> Vec<AtRadius> {
    let Some((code, _)) = queries.first() else {
        return Vec::new();
    };
    let all = ranked.len() as f64;
    (0..=code.length().bits())
        .map(|radius| {
            let precisions: Vec<f64> = ranked.iter().filter_map(|r| r.precision(radius)).collect();
            let answered = precisions.len() as f64;
            AtRadius {
                radius,
                answered: answered / all,
                precision: precisions.iter().sum::<f64>() / answered.max(1.0),
                recall: ranked.iter().map(|r| r.recall(radius)).sum::<f64>() / all,
            }
        })
        .collect()
}

pub(super) fn precision_at(ranked: &[Ranking], database: usize) -> Vec<PrecisionAt> {
    [1, 5, 10, 50, 100, 500, 1000]
        .into_iter()
        .filter(|&n| n <= database)
        .map(|n| {
            let sum: f64 = ranked.iter().map(|ranking| ranking.precision_at(n)).sum();
            PrecisionAt {
                n,
                precision: sum / ranked.len().max(1) as f64,
            }
        })
        .collect()
}

pub(super) fn by_class(
    queries: &[Labelled],
    ranked: &[Ranking],
    sets: &[Vec<usize>],
) -> Vec<OfClass> {
    let classes: BTreeSet<usize> = sets.iter().flatten().copied().collect();
    let of_class = |class: usize| {
        let has = |set: &usize| sets.get(*set).is_some_and(|set| set.contains(&class));
        let pairs = queries.iter().zip(ranked);
        let ranked: Vec<&Ranking> = pairs
            .filter(|((_, set), _)| has(set))
            .map(|p| p.1)
            .collect();
        let n = ranked.len() as f64;
        let precision = |r: &&Ranking| r.precision(RADIUS).unwrap_or_default();
        (!ranked.is_empty()).then(|| OfClass {
            class,
            queries: ranked.len(),
            map: ranked.iter().map(|ranking| ranking.ap).sum::<f64>() / n,
            precision_radius_2: ranked.iter().map(precision).sum::<f64>() / n,
        })
    };
    classes.into_iter().filter_map(of_class).collect()
}
