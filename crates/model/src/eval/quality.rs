//! The measures of retrieval quality at one code length, each a mean over queries.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::eval::{
    codes,
    curve::{self, AtRadius, ClassQuality, LOOKUP_RADIUS, PrecisionAt},
    ranking::{LabelledCode, Ranker, Ranking},
};

/// Quality at one length. A figure without another unit is a mean over queries, 0…1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// MAP, in expectation over all orders of images at equal distance.
    pub map: f64,
    /// MAP if images at equal distance keep the order of the database, which is shuffled by a seed.
    pub map_shuffled: f64,
    /// Share of relevant images among those within Hamming radius 2. An empty ball counts as 0.
    pub precision_radius_2: f64,
    /// Share of the relevant images that are within Hamming radius 2.
    pub recall_radius_2: f64,
    /// Mean number of images within Hamming radius 2, 0 to the size of the database.
    pub images_radius_2: f64,
    /// Share of queries that have no image within Hamming radius 2.
    pub empty_radius_2: f64,
    /// Number of distinct codes in the database.
    pub distinct_codes: usize,
    /// Entropy of the codes of the database, in bits.
    pub code_entropy: f64,
    /// Binary entropy of the share of codes that have a bit set, averaged over bits, 0…1.
    pub bit_entropy: f64,
    /// Precision and recall at every radius from 0 to the length.
    pub curve: Vec<AtRadius>,
    /// Precision among the first 1, 5, 10, 50, 100, 500 and 1000 images, up to the size of the
    /// database.
    pub precision_at: Vec<PrecisionAt>,
    /// Classes that have queries, ascending.
    pub classes: Vec<ClassQuality>,
}

/// Returns the label sets of images with one class each: set `i` is class `i`.
pub fn single_label(classes: usize) -> Vec<Vec<usize>> {
    (0..classes).map(|class| vec![class]).collect()
}

/// Ranks the whole database for every query. Images are relevant to each other if their label sets
/// share a class. `sets[i]` has the classes of set `i`. A number without a set counts as a set
/// without classes. A query without relevant images counts as 0 in MAP and in recall. All codes
/// must have one length.
pub fn quality(
    queries: &[LabelledCode],
    database: &[LabelledCode],
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
        precision_radius_2: mean(&|ranking| ranking.precision(LOOKUP_RADIUS).unwrap_or_default()),
        recall_radius_2: mean(&|ranking| ranking.recall(LOOKUP_RADIUS)),
        images_radius_2: mean(&|ranking| f64::from(ranking.within(LOOKUP_RADIUS).images)),
        empty_radius_2: mean(&|ranking| f64::from(ranking.within(LOOKUP_RADIUS).images == 0)),
        distinct_codes,
        code_entropy,
        bit_entropy: codes::bit_entropy(database),
        curve: curve::by_radius(queries, &ranked),
        precision_at: curve::precision_at(&ranked, database.len()),
        classes: curve::by_class(queries, &ranked, sets),
    }
}

/// Makes one ranking per query, on all cores.
fn rank(queries: &[LabelledCode], ranker: &Ranker) -> Vec<Ranking> {
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
