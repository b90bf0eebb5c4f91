//! Measures the upper limit of serving: the images per second that all cores decode and resize,
//! that the model encodes at each batch size, and that both do together. Prints a line of JSON.
//! Excludes HTTP, queues and the index.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a measurement are small"
)]
#![allow(clippy::unwrap_used)] // allow-unwrap: a benchmark stops where it fails

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
    time::Instant,
};

use clap::Parser;
use scihcgrl::{
    config::{Compute, DEFAULT_MODEL},
    image::{self, Pixels},
    model::{Hasher, checkpoint},
};
use serde_json::{Map, json};

#[derive(Parser)]
struct Options {
    /// The checkpoint.
    #[arg(long, default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// A folder of JPEG files, at any depth.
    #[arg(long, default_value = "samples/queries")]
    photos: PathBuf,
    /// The options of the service.
    #[command(flatten)]
    compute: Compute,
    /// Batch sizes to try.
    #[arg(long, value_delimiter = ',', default_value = "1,4,8,16,32")]
    batches: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Cargo passes this flag to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let mut files = Vec::new();
    jpegs(&options.photos, &mut files);
    assert!(!files.is_empty(), "no JPEG files there");
    let (card, _) = checkpoint::describe(&options.model).unwrap();
    let decode = |file: &Vec<u8>| image::decode(file, card.input()).unwrap().pixels;
    let pixels: Vec<Pixels> = files.iter().map(decode).collect();

    let decoded = on_all_cores(&options, |_, number| {
        decode(&files[number % files.len()]);
        1
    });
    let (mut forward, mut together) = (Map::new(), Vec::new());
    for &batch in &options.batches {
        let first = |number: usize| number * batch % (files.len() - batch);
        let passed = on_all_cores(&options, |hasher, number| {
            let batch: Vec<_> = pixels[first(number)..][..batch].iter().collect();
            hasher.encode(&batch).unwrap().len()
        });
        forward.insert(batch.to_string(), json!(passed));
        let both = on_all_cores(&options, |hasher, number| {
            let pixels: Vec<_> = files[first(number)..][..batch].iter().map(decode).collect();
            let batch: Vec<_> = pixels.iter().collect();
            hasher.encode(&batch).unwrap().len()
        });
        together.push((batch, both));
    }
    let best = together
        .iter()
        .max_by(|one, other| one.1.total_cmp(&other.1));
    let (best_batch, limit) = *best.unwrap();
    let line = json!({
        "decoded_per_s": decoded,
        "forward_per_s": forward,
        "best_batch": best_batch,
        "limit_per_s": limit,
    });
    println!("{line}");
}

/// Returns the images per second of some work on all cores: each with a model of one thread, as in
/// the service, or with one model that has as many threads as the options say.
fn on_all_cores(options: &Options, work: impl Fn(&Hasher, usize) -> usize + Sync) -> f64 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let models = if options.compute.threads.is_some() {
        1
    } else {
        cores
    };
    let compute = Compute {
        threads: options.compute.threads.or(Some(1)),
        ..options.compute.clone()
    };
    let ready = Barrier::new(models);
    let one = |model: usize| {
        let hasher = Hasher::load_with(&options.model, &compute).unwrap();
        for number in 0..3 {
            work(&hasher, number);
        }
        ready.wait();
        let (started, mut done) = (Instant::now(), 0);
        for number in (model * 1000).. {
            done += work(&hasher, number);
            if started.elapsed().as_secs_f64() >= options.seconds {
                break;
            }
        }
        done as f64 / started.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..models)
            .map(|model| scope.spawn(move || one(model)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
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
