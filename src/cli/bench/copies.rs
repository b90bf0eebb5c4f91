//! `bench copies`: measures the search for groups of copies on random sketches, without a store.

use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{
    cli::bench::{memory, rounded},
    index::{CopySearch, SketchSet},
};

const GROUP_SIZES: std::ops::RangeInclusive<usize> = 2..=20;
/// Maximum amount by which the similarity of images of a group exceeds the threshold.
const MAX_EXCESS: f32 = 0.04;

/// The options of `scihcgrl bench copies`.
#[derive(Args)]
pub struct CopiesBench {
    /// The number of images.
    #[arg(long, default_value_t = 1_000_000)]
    images: usize,
    /// The share of images in groups of 2 to 20.
    #[arg(long, default_value_t = 0.1)]
    grouped: f64,
    /// Bytes of a sketch.
    #[arg(long, default_value_t = 192)]
    bytes: usize,
    /// Minimum similarity of copies.
    #[arg(long, default_value_t = 0.9)]
    least: f32,
    /// The number of images of which all pairs are compared, to measure the recall of the
    /// approximate search.
    #[arg(long, default_value_t = CopySearch::MAX_EXACT)]
    compared: usize,
}

pub fn run(options: &CopiesBench) -> anyhow::Result<()> {
    let set = make_sketches(options, options.compared);
    let started = cpu_seconds();
    let all = set.count_pairs(options.least, CopySearch::Exact);
    let exact = cpu_seconds() - started;
    let found = set.count_pairs(options.least, CopySearch::Tables);
    println!(
        "{}",
        json!({
            "op": "recall", "images": set.len(), "least": options.least, "pairs": all, "found": found,
            "recall": rounded(found as f64 / all.max(1) as f64), "exact_seconds": rounded(exact),
        })
    );
    let set = make_sketches(options, options.images);
    let before = memory("VmRSS:");
    let started = cpu_seconds();
    let search = CopySearch::for_count(set.len());
    let found = set.copies(options.least, search, &mut |_| true);
    let seconds = cpu_seconds() - started;
    let groups = found.unwrap_or_default().groups;
    let grouped: usize = groups.iter().map(Vec::len).sum();
    println!(
        "{}",
        json!({
            "op": "groups", "images": set.len(), "bytes": options.bytes, "least": options.least,
            "search": format!("{search:?}").to_lowercase(), "seconds": rounded(seconds), "groups": groups.len(),
            "grouped": grouped, "sketches_bytes": before, "peak_bytes": memory("VmHWM:"),
        })
    );
    Ok(())
}

/// Returns the CPU seconds of this thread, from Linux. Time of other programs does not count.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text
        .split(' ')
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e9
}

/// Makes sketches in random order.
fn make_sketches(options: &CopiesBench, images: usize) -> SketchSet {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let grouped = (images as f64 * options.grouped).floor();
    let mut sketches: Vec<Box<[i8]>> = Vec::with_capacity(images);
    while sketches.len() < images {
        let oldest = random_direction(&mut random, options.bytes);
        sketches.push(quantised(&oldest));
        let size = if (sketches.len() as f64) < grouped {
            random.random_range(GROUP_SIZES)
        } else {
            1
        };
        for _ in 1..size.min(images - sketches.len() + 1) {
            // With the square root as similarity to the first, any two of the group have about this
            // one.
            let similarity = options.least + MAX_EXCESS * random.random::<f32>();
            let other = random_direction(&mut random, options.bytes);
            let root = similarity.min(1.0).sqrt();
            sketches.push(quantised(&towards(&oldest, &other, root)));
        }
    }
    for at in (1..images).rev() {
        sketches.swap(at, random.random_range(0..=at));
    }
    let mut set = SketchSet::new(options.bytes);
    for (sequence, sketch) in (0..).zip(sketches) {
        set.push(sequence, sketch.iter().copied());
    }
    set
}

/// Returns a unit vector of uniformly random direction.
fn random_direction(random: &mut ChaCha8Rng, bytes: usize) -> Vec<f32> {
    // A sum of uniform numbers is about normal.
    let normal = |random: &mut ChaCha8Rng| (0..6).map(|_| random.random::<f32>() - 0.5).sum();
    unit((0..bytes).map(|_| normal(random)).collect())
}

fn unit(vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.into_iter().map(|value| value / length).collect()
}

/// Returns a unit vector with a given similarity to `one`, in the direction of `other`.
fn towards(one: &[f32], other: &[f32], similarity: f32) -> Vec<f32> {
    let along: f32 = one.iter().zip(other).map(|(one, other)| one * other).sum();
    let across = one
        .iter()
        .zip(other)
        .map(|(one, other)| other - along * one);
    let across = unit(across.collect());
    let away = (1.0 - similarity * similarity).sqrt();
    let steps = one.iter().zip(across);
    steps
        .map(|(one, across)| similarity * one + away * across)
        .collect()
}

/// Quantises a vector as a sketch: the largest entry becomes ±127.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the values are whole numbers from -127 to 127"
)]
fn quantised(vector: &[f32]) -> Box<[i8]> {
    let largest = vector
        .iter()
        .fold(0f32, |most, value| most.max(value.abs()));
    vector
        .iter()
        .map(|value| (value / largest * 127.0).round() as i8)
        .collect()
}
