//! How well a model's search by a changed copy of a stored picture finds the picture, and how well it finds pictures of the same kind, in
//! each order there is.
//! Knows what is encoded and measured; what figures mean is `eval::order`'s, what a copy is `image::change`'s.

mod kin;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use crate::eval::order;
use crate::model::Hasher;
use crate::model::ModelError;
use crate::model::Thresholds;
use crate::train::data::Item;
use crate::train::views;
use scihcgrl_image::change;
use scihcgrl_image::change::COPIES;
use scihcgrl_image::change::Change;
use scihcgrl_index::Order;
use scihcgrl_index::Sketch;
use scihcgrl_index::code::HashCode;

/// How many candidates the table is made for, beside those of a search by default.
const CANDIDATES: [usize; 4] = [5, 25, 100, 1000];
/// The radius within which hash codes are looked up.
const RADIUS: u32 = 2;

/// What a model makes of some pictures.
struct Encoded {
    /// Their places among the items.
    numbers: Vec<usize>,
    codes: Vec<Vec<HashCode>>,
    sketches: Vec<Sketch>,
    /// Unit features: `[pictures, feature]`.
    features: Tensor,
}

/// What copies and kin are measured on.
pub struct Asked<'a> {
    /// The pictures that are searched.
    pub items: &'a [&'a Item],
    /// The classes of each set that items are of. An item whose set is empty is of unknown kind. Kinds are measured only if at least two sets
    /// have classes.
    pub sets: &'a [Vec<usize>],
    /// The places of those that are changed and searched by.
    pub copied: &'a [usize],
    /// The places of those that search for their kind, and for what is near by features.
    pub kin: &'a [usize],
    /// Where changed pictures are kept, for other programs to search by.
    pub keep: Option<&'a Path>,
}

/// Measures a model, and the thresholds that its card should have; nothing if it makes no sketches.
///
/// # Errors
/// If libtorch fails, or changed pictures cannot be kept.
pub fn measure(hasher: &Hasher, asked: &Asked<'_>) -> anyhow::Result<Option<(Value, Thresholds)>> {
    if hasher.card().sketch.is_none() {
        return Ok(None);
    }
    let gallery = encode(hasher, asked.items, &views::unchanged)?;
    let count = gallery.numbers.len();
    let mut rows_of = vec![None; asked.items.len()];
    for (row, &number) in gallery.numbers.iter().enumerate() {
        rows_of[number] = Some(row);
    }
    let rows = |places: &[usize]| -> Vec<usize> {
        places.iter().filter_map(|&place| rows_of[place]).collect()
    };
    let (copied, kin_queries) = (rows(asked.copied), rows(asked.kin));
    let copy = copy_threshold(&gallery);
    let mut table = Map::new();
    for (name, changes) in COPIES {
        let row = Row {
            name,
            changes,
            copy,
        };
        table.insert(
            name.to_owned(),
            row.measure(hasher, asked, &gallery, &copied)?,
        );
    }
    if let Some(folder) = asked.keep {
        keep_gallery(folder, asked.items, &gallery, &copied)?;
    }
    let kin = kin::measure(hasher, asked, &gallery, &kin_queries)?;
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

/// The mean of a figure over all changes, of what [`measure`] returns.
pub fn mean(figures: &Value, name: &str) -> Value {
    let rows = figures["copies"].as_object().into_iter().flatten();
    let values: Vec<f64> = rows.filter_map(|(_, row)| row[name].as_f64()).collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    json!((mean * 10_000.0).round() / 10_000.0)
}

/// Codes, sketches and features of the items that can be read.
fn encode(hasher: &Hasher, items: &[&Item], change: views::Change<'_>) -> anyhow::Result<Encoded> {
    let (mut numbers, mut codes, mut sketches, mut features) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    views::each(items, hasher.card().input(), change, |batch| {
        let pixels: Vec<_> = batch.pixels.iter().collect();
        let images = hasher.upload(&pixels)?;
        let found = hasher.features(&images)?;
        for output in hasher.outputs(&images, &found, pixels.len())? {
            codes.push(output.codes);
            sketches.extend(output.sketch);
        }
        let found = found
            .f_narrow(0, 0, pixels.len() as i64)?
            .f_to_kind(Kind::Float)?;
        let length = found.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?;
        features.push(
            found
                .f_div(&length.f_clamp_min(1e-12)?)?
                .f_to_device(tch::Device::Cpu)?,
        );
        numbers.extend(batch.numbers);
        Ok::<_, ModelError>(())
    })?;
    let features = match features.is_empty() {
        true => Tensor::f_zeros([0, 1], (Kind::Float, tch::Device::Cpu)),
        false => Tensor::f_cat(&features, 0),
    };
    Ok(Encoded {
        numbers,
        codes,
        sketches,
        features: features.map_err(ModelError::from)?,
    })
}

/// The similarity that one pair of different pictures in a million reaches.
fn copy_threshold(gallery: &Encoded) -> f32 {
    let count = gallery.sketches.len();
    let allowed = count * count.saturating_sub(1) / 2 / 1_000_000;
    // Only the highest can matter: they are cut back now and then.
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
    order::above(highest, allowed)
}

/// The scores of all images to one query, in each order.
struct Scores {
    distances: Vec<u32>,
    similarities: Vec<f32>,
    cosines: Vec<f32>,
}

fn scores(gallery: &Encoded, query: &Encoded, number: usize) -> anyhow::Result<Scores> {
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
    /// The order of a search by default.
    fn searched(&self) -> Vec<f32> {
        let candidates = match self.distances.len() as u64 <= Order::ALL {
            true => usize::MAX,
            false => Order::USUAL,
        };
        order::searched(&self.distances, &self.similarities, candidates)
    }
}

/// Named figures, each with its sum and how many values are in it.
#[derive(Default)]
struct Sums(BTreeMap<String, (f64, u32)>);

impl Sums {
    fn add(&mut self, name: &str, value: f64) {
        let (sum, count) = self.0.entry(name.to_owned()).or_default();
        *sum += value;
        *count += 1;
    }

    /// Their means, to four places.
    fn means(self) -> Map<String, Value> {
        let means = self.0.into_iter().map(|(name, (sum, count))| {
            let mean = sum / f64::from(count);
            (name, json!((mean * 10_000.0).round() / 10_000.0))
        });
        means.collect()
    }
}

/// One change, and from which similarity its copies count as such.
struct Row<'a> {
    name: &'a str,
    changes: &'a [Change],
    copy: f32,
}

impl Row<'_> {
    /// How often the picture comes first when its copy is searched for, and more.
    fn measure(
        &self,
        hasher: &Hasher,
        asked: &Asked<'_>,
        gallery: &Encoded,
        queries: &[usize],
    ) -> anyhow::Result<Value> {
        let copied: Vec<&Item> = queries
            .iter()
            .map(|&query| asked.items[gallery.numbers[query]])
            .collect();
        let name = self.name.replace([' ', ',', '°'], "-");
        let folder = asked.keep.map(|folder| folder.join(&name));
        if let Some(folder) = &folder {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let changed = |number: usize, picture| {
            let picture = change::all(&picture, self.changes)?;
            if let Some(folder) = &folder {
                let file = folder.join(format!("{:05}.png", queries[number]));
                if let Err(error) = picture.save(&file) {
                    tracing::warn!(%error, file = %file.display(), "cannot be kept");
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
            let place = order::place(&scores.searched(), own);
            add("first", place.among(1));
            add("first_ten", place.among(10));
            for candidates in CANDIDATES {
                let searched = order::searched(&scores.distances, &scores.similarities, candidates);
                add(
                    &format!("first_of_{candidates}"),
                    order::place(&searched, own).among(1),
                );
            }
            let by_code = order::place(&order::by_distance(&scores.distances), own);
            add("first_by_code", by_code.among(1));
            add(
                "within_radius_2",
                f64::from(u8::from(scores.distances[own] <= RADIUS)),
            );
            add("distance", f64::from(scores.distances[own]));
            add(
                "first_by_floats",
                order::place(&scores.cosines, own).among(1),
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

/// Keeps the gallery as it is searched, beside the changed pictures.
fn keep_gallery(
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
