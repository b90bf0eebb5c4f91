//! Retrieval quality of codes: the measures of one length, each a mean over queries of what `ranking` counts for one of them.
//! Knows codes and label sets; neither models nor files.

mod codes;
mod curve;
pub mod order;
pub mod plot;
mod ranking;
#[cfg(test)]
mod tests;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

pub use curve::{AtRadius, OfClass, PrecisionAt};
use ranking::{Ranker, Ranking};
use scihcgrl_index::code::HashCode;

/// A code and the number of its image's label set.
pub type Labelled = (HashCode, usize);

/// The radius within which hash codes are looked up.
const RADIUS: usize = 2;

/// Quality at one length. A figure without another unit is a mean over queries, 0…1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// MAP, the expectation over all orders of the images that stand at one distance.
    pub map: f64,
    /// MAP of one seeded order of them.
    pub map_shuffled: f64,
    /// Share of relevant images among those within Hamming radius 2; an empty ball counts as 0.
    pub precision_radius_2: f64,
    /// Share of the relevant images that stand within Hamming radius 2.
    pub recall_radius_2: f64,
    /// How many images stand within Hamming radius 2; the mean, 0…size of the database.
    pub images_radius_2: f64,
    /// Share of queries that have no image within Hamming radius 2.
    pub empty_radius_2: f64,
    /// How many codes the database has.
    pub distinct_codes: usize,
    /// Entropy of the database's codes: H of the share of images that have each, in bits.
    pub code_entropy: f64,
    /// Binary entropy of the share of the database's codes that have a bit set; the mean over bits, 0…1.
    pub bit_entropy: f64,
    /// Precision and recall at every radius from 0 to the length.
    pub curve: Vec<AtRadius>,
    /// Precision among the first 1, 5, 10, 50, 100, 500 and 1000, as far as the database goes.
    pub precision_at: Vec<PrecisionAt>,
    /// Classes that have queries, ascending.
    pub classes: Vec<OfClass>,
}

/// The label sets of images that have one class each: set `i` is class `i`.
pub fn single_label(classes: usize) -> Vec<Vec<usize>> {
    (0..classes).map(|class| vec![class]).collect()
}

/// Ranks the whole database for every query. Images are relevant to each other if their label sets share a class; `sets[i]`
/// has the classes of set `i`, and a number that is none of `sets` is a set of no class. A query that no image is relevant to
/// counts as 0 in MAP and in recall. All codes are of one length.
pub fn quality(
    queries: &[Labelled],
    database: &[Labelled],
    sets: &[Vec<usize>],
    seed: u64,
) -> Quality {
    let mut shuffled = database.to_vec();
    shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let ranked = rank(queries, &Ranker::new(&shuffled, sets));
    let mean = |figure: &dyn Fn(&Ranking) -> f64| {
        ranked.iter().map(figure).sum::<f64>() / ranked.len().max(1) as f64
    };
    let (distinct_codes, code_entropy) = codes::distinct(database);
    Quality {
        map: mean(&|ranking| ranking.ap),
        map_shuffled: mean(&|ranking| ranking.ap_shuffled),
        precision_radius_2: mean(&|ranking| ranking.precision(RADIUS).unwrap_or_default()),
        recall_radius_2: mean(&|ranking| ranking.recall(RADIUS)),
        images_radius_2: mean(&|ranking| ranking.within(RADIUS).images as f64),
        empty_radius_2: mean(&|ranking| f64::from(ranking.within(RADIUS).images == 0)),
        distinct_codes,
        code_entropy,
        bit_entropy: codes::bit_entropy(database),
        curve: curve::by_radius(queries, &ranked),
        precision_at: curve::precision_at(&ranked, database.len()),
        classes: curve::by_class(queries, &ranked, sets),
    }
}

/// One ranking a query, on all cores.
fn rank(queries: &[Labelled], ranker: &Ranker) -> Vec<Ranking> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let chunk = queries.len().div_ceil(cores).max(1);
    let mut ranked = vec![Ranking::default(); queries.len()];
    std::thread::scope(|scope| {
        for (rankings, queries) in ranked.chunks_mut(chunk).zip(queries.chunks(chunk)) {
            scope.spawn(move || {
                for (ranking, query) in rankings.iter_mut().zip(queries) {
                    *ranking = ranker.rank(query);
                }
            });
        }
    });
    ranked
}
