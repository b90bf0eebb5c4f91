//! Quality by radius, by the length of the list and by class.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::eval::ranking::{LabelledCode, Ranking};

/// One point of the precision–recall curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AtRadius {
    /// The Hamming radius.
    pub radius: usize,
    /// Share of queries that have an image within the radius.
    pub answered: f64,
    /// Share of relevant images within the radius, averaged over the queries whose ball is not
    /// empty. `answered * precision` is the mean in which empty balls count as 0. 0 if all balls
    /// are empty.
    pub precision: f64,
    /// Share of the relevant images that are within the radius, averaged over all queries. An empty
    /// ball counts as 0.
    pub recall: f64,
}

/// Precision among the first n images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PrecisionAt {
    /// Number of nearest images.
    pub n: usize,
    /// Share of relevant images, in expectation over the orders of images at equal distance,
    /// averaged over queries.
    pub precision: f64,
}

/// The quality for queries of one class. A query of several classes counts in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ClassQuality {
    /// Number of the class.
    pub class: usize,
    /// Number of queries that have it.
    pub queries: usize,
    /// Tie-aware MAP of the queries. An image is relevant if it shares any class with the query.
    pub map: f64,
    /// Precision of the queries within Hamming radius 2; an empty ball counts as 0.
    pub precision_radius_2: f64,
}

pub(crate) fn by_radius(queries: &[LabelledCode], ranked: &[Ranking]) -> Vec<AtRadius> {
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

pub(crate) fn precision_at(ranked: &[Ranking], database: usize) -> Vec<PrecisionAt> {
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

pub(crate) fn by_class(
    queries: &[LabelledCode],
    ranked: &[Ranking],
    sets: &[Vec<usize>],
) -> Vec<ClassQuality> {
    let classes: BTreeSet<usize> = sets.iter().flatten().copied().collect();
    let of_class = |class: usize| {
        let has_class = |set: &usize| sets.get(*set).is_some_and(|set| set.contains(&class));
        let pairs = queries.iter().zip(ranked);
        let ranked: Vec<&Ranking> = pairs
            .filter(|((_, set), _)| has_class(set))
            .map(|p| p.1)
            .collect();
        let n = ranked.len() as f64;
        let precision = |r: &&Ranking| r.precision(LOOKUP_RADIUS).unwrap_or_default();
        (!ranked.is_empty()).then(|| ClassQuality {
            class,
            queries: ranked.len(),
            map: ranked.iter().map(|ranking| ranking.ap).sum::<f64>() / n,
            precision_radius_2: ranked.iter().map(precision).sum::<f64>() / n,
        })
    };
    classes.into_iter().filter_map(of_class).collect()
}

/// The radius of lookups by code.
pub(crate) const LOOKUP_RADIUS: usize = 2;
