//! Measures how well a search with a changed copy finds the stored image, for each order of a
//! search.

use std::{fs, path::Path};

use anyhow::Context;
use scihcgrl_image::change::{self, Change, EVALUATION_COPIES};
use serde_json::{Map, Value, json};

use crate::{
    card::Thresholds,
    copies::{
        encoded::{Encoded, TestSet, encode},
        kin,
        scores::{Sums, scores},
    },
    eval::order,
    hasher::Hasher,
    train::data::{batches, collection::Item},
};

/// Numbers of candidates that are measured in addition to that of a default search.
const CANDIDATE_COUNTS: [usize; 4] = [5, 25, 100, 1000];
/// The radius of lookups by code.
const LOOKUP_RADIUS: u32 = 2;

/// Measures a model. Returns the figures, and the thresholds for its card. Returns `None` if the
/// model makes no sketches.
///
/// # Errors
/// An error if libtorch fails or changed pictures cannot be saved.
pub fn measure(hasher: &Hasher, set: &TestSet<'_>) -> anyhow::Result<Option<(Value, Thresholds)>> {
    if hasher.card().sketch.is_none() {
        return Ok(None);
    }
    let gallery = encode(hasher, set.items, &batches::unchanged)?;
    let count = gallery.numbers.len();
    let mut rows_of = vec![None; set.items.len()];
    for (row, &number) in gallery.numbers.iter().enumerate() {
        rows_of[number] = Some(row);
    }
    let rows = |numbers: &[usize]| -> Vec<usize> {
        numbers
            .iter()
            .filter_map(|&number| rows_of[number])
            .collect()
    };
    let (copied, kin_queries) = (rows(set.copied), rows(set.kin));
    let copy = copy_threshold(&gallery);
    let mut table = Map::new();
    for (name, changes) in EVALUATION_COPIES {
        let test = ChangeTest {
            name,
            changes,
            copy,
        };
        table.insert(
            name.to_owned(),
            test.measure(hasher, set, &gallery, &copied)?,
        );
    }
    if let Some(folder) = set.save_to {
        save_gallery(folder, set.items, &gallery, &copied)?;
    }
    let kin = kin::measure(hasher, set, &gallery, &kin_queries)?;
    let thresholds = Thresholds {
        copy,
        kin: kin["threshold"].as_f64().map(|from| from as f32),
    };
    let figures = json!({
        "images": count, "copied": copied.len(), "sketch_bytes": hasher.card().sketch,
        "copy_threshold": copy, "pairs": count * count.saturating_sub(1) / 2, "copies": table, "kin": kin,
    });
    Ok(Some((figures, thresholds)))
}

/// Returns the mean of a figure over all changes, from the figures of [`measure`].
pub fn mean_over_changes(figures: &Value, name: &str) -> Value {
    let rows = figures["copies"].as_object().into_iter().flatten();
    let values: Vec<f64> = rows.filter_map(|(_, row)| row[name].as_f64()).collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    json!((mean * 10_000.0).round() / 10_000.0)
}

/// Returns the similarity that one pair of different pictures in a million reaches.
fn copy_threshold(gallery: &Encoded) -> f32 {
    let count = gallery.sketches.len();
    let allowed = count * count.saturating_sub(1) / 2 / 1_000_000;
    // Truncates the list from time to time, because only the highest similarities matter.
    let mut highest: Vec<f32> = Vec::new();
    for (number, sketch) in gallery.sketches.iter().enumerate() {
        highest.extend(
            gallery.sketches[..number]
                .iter()
                .map(|other| sketch.similarity(other)),
        );
        if highest.len() > 1 << 22 {
            let keep = allowed + 1;
            highest.select_nth_unstable_by(keep, |one, other| other.total_cmp(one));
            highest.truncate(keep + 1);
        }
    }
    order::threshold_allowing(highest, allowed)
}

/// One change of pictures, and the threshold for copies.
struct ChangeTest<'a> {
    name: &'a str,
    changes: &'a [Change],
    copy: f32,
}

impl ChangeTest<'_> {
    /// Measures, among other figures, how often a search with the copy returns the picture first.
    fn measure(
        &self,
        hasher: &Hasher,
        set: &TestSet<'_>,
        gallery: &Encoded,
        queries: &[usize],
    ) -> anyhow::Result<Value> {
        let copied: Vec<&Item> = queries
            .iter()
            .map(|&query| set.items[gallery.numbers[query]])
            .collect();
        let name = self.name.replace([' ', ',', '°'], "-");
        let folder = set.save_to.map(|folder| folder.join(&name));
        if let Some(folder) = &folder {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let changed = |number: usize, picture| {
            let picture = change::apply_all(&picture, self.changes)?;
            if let Some(folder) = &folder {
                let file = folder.join(format!("{:05}.png", queries[number]));
                if let Err(error) = picture.save(&file) {
                    tracing::warn!(%error, file = %file.display(), "cannot save a changed picture");
                }
            }
            Ok(picture)
        };
        let copies = encode(hasher, &copied, &changed)?;
        let mut sums = Sums::default();
        let mut add = |name: &str, value: f64| sums.add(name, value);
        for (at, &number) in copies.numbers.iter().enumerate() {
            let own = queries[number];
            let scores = scores(gallery, &copies, at)?;
            let rank = order::rank(&scores.search_scores(), own);
            add("first", rank.probability_within(1));
            add("first_ten", rank.probability_within(10));
            for candidates in CANDIDATE_COUNTS {
                let search_scores =
                    order::search_scores(&scores.distances, &scores.similarities, candidates);
                add(
                    &format!("first_of_{candidates}"),
                    order::rank(&search_scores, own).probability_within(1),
                );
            }
            let by_code = order::rank(&order::distance_scores(&scores.distances), own);
            add("first_by_code", by_code.probability_within(1));
            add(
                "within_radius_2",
                f64::from(u8::from(scores.distances[own] <= LOOKUP_RADIUS)),
            );
            add("distance", f64::from(scores.distances[own]));
            add(
                "first_by_floats",
                order::rank(&scores.cosines, own).probability_within(1),
            );
            add(
                "is_copy",
                f64::from(u8::from(scores.similarities[own] >= self.copy)),
            );
        }
        let mut row = sums.means();
        if folder.is_some() {
            row.insert("folder".to_owned(), name.into());
        }
        Ok(row.into())
    }
}

/// Saves the list of the searched images in the folder of the changed pictures.
fn save_gallery(
    folder: &Path,
    items: &[&Item],
    gallery: &Encoded,
    queries: &[usize],
) -> anyhow::Result<()> {
    let lines = gallery
        .numbers
        .iter()
        .map(|&number| items[number].name.as_str());
    let listed = json!({ "gallery": lines.collect::<Vec<_>>(), "queries": queries });
    let file = folder.join("gallery.json");
    fs::write(&file, format!("{listed:#}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}
