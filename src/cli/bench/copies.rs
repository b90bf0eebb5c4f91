//! `bench copies`: sketches of random directions, some of them with copies at or above a similarity, grouped as a job does it.
//! Knows no store and no pictures: what is measured is finding the groups.

use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{
    cli::bench::{memory, rounded},
    index::{Search, SketchSet},
};

/// The fewest and the most images of a group.
const GROUP: std::ops::RangeInclusive<usize> = 2..=20;
/// Any two images of a group are at most so much more similar than they have to be.
const CLOSER: f32 = 0.04;

/// The images that are made, and from which similarity they are copies.
#[derive(Args)]
pub struct CopiesBench {
    /// How many images.
    #[arg(long, default_value_t = 1_000_000)]
    images: usize,
    /// The share of them that is in groups of 2 to 20.
    #[arg(long, default_value_t = 0.1)]
    grouped: f64,
    /// Bytes of a sketch.
    #[arg(long, default_value_t = 192)]
    bytes: usize,
    /// From which similarity on an image is a copy.
    #[arg(long, default_value_t = 0.9)]
    least: f32,
    /// Of how many images all pairs are compared, to tell how many of them the way for large galleries finds.
    #[arg(long, default_value_t = Search::EXACT)]
    compared: usize,
}

/// Measures.
///
/// # Errors
/// None.
pub fn run(options: &CopiesBench) -> anyhow::Result<()> {
    let set = made(options, options.compared);
    let started = computed();
    let all = set.pairs(options.least, Search::Exact);
    let exact = computed() - started;
    let found = set.pairs(options.least, Search::Tables);
    println!(
        "{}",
        json!({
            "op": "recall", "images": set.len(), "least": options.least, "pairs": all, "found": found,
            "recall": rounded(found as f64 / all.max(1) as f64), "exact_seconds": rounded(exact),
        })
    );
    let set = made(options, options.images);
    let before = memory("VmRSS:");
    let started = computed();
    let search = Search::suiting(set.len());
    let groups = set.groups(options.least, search, &mut |_| true);
    let seconds = computed() - started;
    let groups = groups.unwrap_or_default();
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

/// Seconds that this thread has computed, as Linux tells them: what other programs take is not in them.
fn computed() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told
        .split(' ')
        .next()
        .and_then(|word| word.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e9
}

/// So many sketches in an order of no meaning.
fn made(options: &CopiesBench, images: usize) -> SketchSet {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let grouped = (images as f64 * options.grouped) as usize;
    let mut sketches: Vec<Box<[i8]>> = Vec::with_capacity(images);
    while sketches.len() < images {
        let oldest = direction(&mut random, options.bytes);
        sketches.push(quantised(&oldest));
        let size = match sketches.len() < grouped {
            true => random.random_range(GROUP),
            false => 1,
        };
        for _ in 1..size.min(images - sketches.len() + 1) {
            // The root of it to the first one, so that it is about that between any two.
            let similarity = options.least + CLOSER * random.random::<f32>();
            let other = direction(&mut random, options.bytes);
            let root = similarity.min(1.0).sqrt();
            sketches.push(quantised(&beside(&oldest, &other, root)));
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

/// A vector of length 1 in a direction that is as likely as any other.
fn direction(random: &mut ChaCha8Rng, bytes: usize) -> Vec<f32> {
    // Sums of uniform numbers are about normal.
    let normal = |random: &mut ChaCha8Rng| (0..6).map(|_| random.random::<f32>() - 0.5).sum();
    unit((0..bytes).map(|_| normal(random)).collect())
}

fn unit(vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.into_iter().map(|value| value / length).collect()
}

/// A vector that is so similar to one, on the way to another.
fn beside(one: &[f32], other: &[f32], similarity: f32) -> Vec<f32> {
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

/// As a sketch has it: the largest entry is ±127.
fn quantised(vector: &[f32]) -> Box<[i8]> {
    let largest = vector
        .iter()
        .fold(0f32, |most, value| most.max(value.abs()));
    vector
        .iter()
        .map(|value| (value / largest * 127.0).round() as i8)
        .collect()
}
