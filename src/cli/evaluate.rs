//! `scihcgrl evaluate`: encodes a folder of class folders, splits it into queries and database, prints a table.
//! Knows how figures are shown; what they mean is `eval`'s.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tch::Device;

use crate::{code::HashCode, eval, model::Hasher, train::data};

/// Images a forward pass.
const BATCH: usize = 64;

pub(super) fn run(
    hasher: &Hasher,
    folder: &Path,
    queries: usize,
    seed: u64,
    out: Option<&Path>,
) -> anyhow::Result<()> {
    let card = hasher.card();
    let pictures = data::read(folder, card.input_size, None, seed)?;
    let mut order: Vec<usize> = (0..pictures.labels.len()).collect();
    ensure!(
        (1..order.len()).contains(&queries),
        "{queries} queries of {} images; at least one must be left for the database",
        order.len()
    );
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut codes: Vec<Vec<HashCode>> = Vec::with_capacity(order.len());
    for numbers in order.chunks(BATCH) {
        let numbers: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
        let images = pictures.batch(&numbers, card.input_size, false, Device::Cpu)?;
        codes.extend(hasher.encode_tensor(&images.to_device(hasher.device()))?);
    }
    let mut rows = serde_json::Map::new();
    println!("bits  MAP (tie-aware)  MAP (one order)  precision within radius 2");
    for (head, length) in card.lengths.iter().enumerate() {
        let labelled: Vec<eval::Labelled> = codes
            .iter()
            .zip(&order)
            .map(|(codes, &number)| (codes[head], pictures.labels[number]))
            .collect();
        let (queries, database) = labelled.split_at(queries);
        let quality = eval::quality(queries, database, seed);
        println!(
            "{length:>4}  {:>15.4}  {:>15.4}  {:>25.4}",
            quality.map, quality.map_shuffled, quality.precision_radius_2
        );
        rows.insert(length.to_string(), json!(quality));
    }
    if let Some(path) = out {
        let all = json!({
            "model": hasher.id(), "queries": queries, "database": order.len() - queries, "seed": seed,
            "skipped_files": pictures.skipped.len(), "quality": rows,
        });
        fs::write(path, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
