//! What serving cannot exceed: images a second that all cores decode and resize, that the model's forward pass takes at each batch size,
//! and that both together do in turns. Prints a line of JSON. Knows nothing of HTTP, queues or the index.

#![allow(clippy::unwrap_used)] // allow-unwrap: a benchmark stops where it fails

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use scihcgrl::{
    config::{Compute, DEFAULT_MODEL},
    image::{self, Pixels},
    model::Hasher,
};
use serde_json::json;

#[derive(Parser)]
struct Options {
    /// The checkpoint.
    #[arg(long, default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// A folder of JPEG files, at any depth.
    #[arg(long, default_value = "samples/queries")]
    photos: PathBuf,
    /// As the service is told.
    #[command(flatten)]
    compute: Compute,
    /// Batch sizes to try.
    #[arg(long, value_delimiter = ',', default_value = "1,4,8,16,32")]
    batches: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let mut files = Vec::new();
    jpegs(&options.photos, &mut files);
    assert!(!files.is_empty(), "no JPEG files there");
    let length = Duration::from_secs_f64(options.seconds);
    // On this thread alone, as the service's worker does.
    let hasher = Hasher::start(&options.model, &options.compute).unwrap();
    let side = hasher.card().input_size;

    let pixels = decode(&files, side);
    let decoded = rate(length, || decode(&files, side).len());
    let mut forward = Vec::new();
    for &batch in &options.batches {
        let mut batches = pixels.chunks_exact(batch).cycle();
        let pass = || {
            let batch: Vec<&Pixels> = batches.next().unwrap().iter().collect();
            hasher.encode(&batch).unwrap().len()
        };
        forward.push((batch, rate(length, pass)));
    }
    let (best, passed) = forward
        .iter()
        .copied()
        .max_by(|one, other| one.1.total_cmp(&other.1))
        .unwrap();
    let mut some = files.chunks_exact(best).cycle();
    let together = rate(length, || {
        let pixels = decode(some.next().unwrap(), side);
        hasher
            .encode(&pixels.iter().collect::<Vec<_>>())
            .unwrap()
            .len()
    });
    let forward: serde_json::Map<_, _> = forward
        .iter()
        .map(|(batch, rate)| (batch.to_string(), json!(rate)))
        .collect();
    let line = json!({
        "decoded_per_s": decoded,
        "forward_per_s": forward,
        "best_batch": best,
        "together_per_s": together,
        "limit_per_s": 1.0 / (1.0 / decoded + 1.0 / passed),
    });
    println!("{line}");
}

fn jpegs(folder: &Path, files: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            jpegs(&path, files);
        } else if path.extension().is_some_and(|end| end == "jpg") {
            files.push(fs::read(path).unwrap());
        }
    }
}

/// Decodes files on all cores.
fn decode(files: &[Vec<u8>], side: u32) -> Vec<Pixels> {
    let next = AtomicUsize::new(0);
    let some = || {
        let take = || files.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(take)
            .map(|file| image::decode(file, side).unwrap().pixels)
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(some)).collect();
        let parts = threads.into_iter().map(|thread| thread.join().unwrap());
        parts.flatten().collect()
    })
}

/// Images a second, after a first time that is not counted.
fn rate(length: Duration, mut work: impl FnMut() -> usize) -> f64 {
    work();
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < length {
        done += work();
    }
    done as f64 / started.elapsed().as_secs_f64()
}
