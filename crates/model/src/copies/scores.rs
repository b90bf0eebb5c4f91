//! The scores of all images for one query, and means over queries.

use std::collections::BTreeMap;

use scihcgrl_index::Order;
use serde_json::{Map, Value, json};

use crate::{copies::encoded::Encoded, error::ModelError, eval::order};

/// Distances, similarities and cosines of all images to one query.
pub(crate) struct Scores {
    pub distances: Vec<u32>,
    pub similarities: Vec<f32>,
    pub cosines: Vec<f32>,
}

pub(crate) fn scores(gallery: &Encoded, query: &Encoded, number: usize) -> anyhow::Result<Scores> {
    let head = query.codes[number].len() - 1;
    let code = query.codes[number][head].word();
    let other = gallery.codes.iter().map(|codes| codes[head].word());
    let own = query
        .features
        .f_get(number as i64)
        .map_err(ModelError::from)?;
    let cosines = gallery.features.f_mv(&own).map_err(ModelError::from)?;
    Ok(Scores {
        distances: other.map(|other| (code ^ other).count_ones()).collect(),
        similarities: gallery
            .sketches
            .iter()
            .map(|sketch| sketch.similarity(&query.sketches[number]))
            .collect(),
        cosines: Vec::try_from(cosines).map_err(ModelError::from)?,
    })
}

impl Scores {
    /// Returns the scores of a default search.
    pub(crate) fn search_scores(&self) -> Vec<f32> {
        let candidates = if self.distances.len() as u64 <= Order::ALL_CANDIDATES_UP_TO {
            usize::MAX
        } else {
            Order::DEFAULT_CANDIDATES
        };
        order::search_scores(&self.distances, &self.similarities, candidates)
    }
}

/// Sum and count of named figures.
#[derive(Default)]
pub(crate) struct Sums(BTreeMap<String, (f64, u32)>);

impl Sums {
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        let (sum, count) = self.0.entry(name.to_owned()).or_default();
        *sum += value;
        *count += 1;
    }

    /// Returns their means, rounded to four decimals.
    pub(crate) fn means(self) -> Map<String, Value> {
        let means = self.0.into_iter().map(|(name, (sum, count))| {
            let mean = sum / f64::from(count);
            (name, json!((mean * 10_000.0).round() / 10_000.0))
        });
        means.collect()
    }
}
