//! Images a second that the batching worker encodes, against the bare model on batches that are ready, in one run; and the share of
//! bits in which codes of the sample gallery differ from those that the CPU makes in fp32. Prints tables; asserts nothing, for machines
//! differ. `SCIHCGRL_MODEL`, `SCIHCGRL_DEVICE` and `BATCHES` (`1,32`) name others than the default ones.

#![allow(clippy::unwrap_used)] // allow-unwrap: a benchmark stops where it fails

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use scihcgrl::{
    batch::{BatchConfig, Batcher},
    code::HashCode,
    image::{self, Pixels},
    model::{self, Hasher},
};
use tch::{Device, Kind};

/// Measurements a cell; the median is shown.
const RUNS: usize = 5;
const LENGTH: Duration = Duration::from_secs(2);
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn main() {
    let path = |variable: &str, default: &str| match env::var(variable) {
        Ok(path) => PathBuf::from(path),
        Err(_) => Path::new(ROOT).join(default),
    };
    let model = path("SCIHCGRL_MODEL", "models/cifar10.safetensors");
    let device = env::var("SCIHCGRL_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let device = model::device(&device).unwrap();
    let batches = env::var("BATCHES").unwrap_or_else(|_| "1,32".to_owned());
    let batches: Vec<usize> = batches
        .split(',')
        .map(|batch| batch.parse().unwrap())
        .collect();
    let threads = thread::spawn(tch::get_num_threads).join().unwrap();
    println!("images/s on {device:?}, {threads} threads, median of {RUNS} runs");
    println!("type  batch  bare model  worker  worker / bare");
    for (name, kind) in [("fp32", Kind::Float), ("bf16", Kind::BFloat16)] {
        for &batch in &batches {
            let path = model.clone();
            let load = move || Hasher::load(&path, device, kind);
            // In a thread that ends, for it takes its OpenMP threads with it.
            let alone = load.clone();
            let bare = thread::spawn(move || {
                let hasher = alone().unwrap();
                let pixels = pixels(hasher.card().input_size);
                median(|| model_alone(&hasher, &pixels, batch))
            });
            let bare = bare.join().unwrap();
            let config = BatchConfig {
                max_batch: batch,
                queue: 2 * batch,
                ..BatchConfig::default()
            };
            let started = Batcher::start([load], config).unwrap();
            let pixels = pixels(started.card.input_size);
            let worker = median(|| through_worker(&started.batcher, &pixels, batch));
            println!(
                "{name}  {batch:>5}  {bare:>10.1}  {worker:>6.1}  {:>13.3}",
                worker / bare
            );
            drop(started.batcher);
            for worker in started.workers {
                worker.join().unwrap();
            }
        }
    }
    let samples = path("SAMPLES", "samples");
    differing_bits(&model, device, &samples);
}

/// Of the sample gallery's codes.
fn differing_bits(model: &Path, device: Device, samples: &Path) {
    let codes = |device, kind| -> Vec<HashCode> {
        let hasher = Hasher::load(model, device, kind).unwrap();
        let size = hasher.card().input_size;
        let read = |path: &PathBuf| {
            image::decode(&fs::read(path).unwrap(), size)
                .unwrap()
                .pixels
        };
        let pixels: Vec<Pixels> = files(samples).iter().map(read).collect();
        let batches = pixels
            .chunks(32)
            .map(|batch| batch.iter().collect::<Vec<_>>());
        let codes = batches.flat_map(|batch| hasher.encode(&batch).unwrap());
        codes.flatten().collect()
    };
    let known = codes(Device::Cpu, Kind::Float);
    let bits: usize = known.iter().map(|code| code.length().bits()).sum();
    for (name, device, kind) in [
        ("bf16 on Cpu", Device::Cpu, Kind::BFloat16),
        ("fp32 on the device", device, Kind::Float),
        ("bf16 on the device", device, Kind::BFloat16),
    ] {
        let other = codes(device, kind);
        let pairs = known.iter().zip(&other);
        let differing: u32 = pairs
            .map(|(one, other)| (one.word() ^ other.word()).count_ones())
            .sum();
        println!(
            "{name} ({device:?}): {differing} of {bits} bits differ from fp32 on Cpu ({:.4} %)",
            100.0 * f64::from(differing) / bits as f64
        );
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    let each = entries.into_iter().flat_map(|path| match path {
        path if path.is_dir() => files(&path),
        path if path.extension().is_some_and(|end| end == "jpg") => vec![path],
        _ => Vec::new(),
    });
    each.collect()
}

fn pixels(size: u32) -> Pixels {
    let count = size * size * 3;
    Pixels {
        size,
        rgb: (0..count).map(|i| (i * 7 % 251) as u8).collect(),
    }
}

fn model_alone(hasher: &Hasher, pixels: &Pixels, batch: usize) -> f64 {
    let images = vec![pixels; batch];
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < LENGTH {
        done += hasher.encode(&images).unwrap().len();
    }
    done as f64 / started.elapsed().as_secs_f64()
}

/// Twice as many callers as go into a batch, each with one image at a time, so that the next batch is there when one is done.
fn through_worker(batcher: &Batcher, pixels: &Pixels, batch: usize) -> f64 {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let started = Instant::now();
        let callers: Vec<_> = (0..2 * batch)
            .map(|_| {
                let (batcher, pixels) = (batcher.clone(), pixels.clone());
                tokio::spawn(async move {
                    let mut done = 0;
                    while started.elapsed() < LENGTH {
                        let place = batcher.admit().unwrap();
                        batcher.encode(place, pixels.clone()).await.unwrap();
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for caller in callers {
            done += caller.await.unwrap();
        }
        f64::from(done) / started.elapsed().as_secs_f64()
    })
}

fn median(mut measure: impl FnMut() -> f64) -> f64 {
    measure();
    let mut runs: Vec<f64> = (0..RUNS).map(|_| measure()).collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}
