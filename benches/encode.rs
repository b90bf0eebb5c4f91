//! Benchmarks encoding: the share of bits in which codes differ from those of the CPU in fp32; the
//! images per second that one core decodes, that the bare model encodes and that the batching
//! worker encodes; and the time of each stage of a batch. Prints lines of JSON. Asserts nothing,
//! because machines differ.

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
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use scihcgrl::{
    code::HashCode,
    config::DEFAULT_MODEL,
    image::{self, Pixels},
    inference::batch::{BatchConfig, Batcher},
    model::{self, Hasher},
};
use serde_json::json;
use tch::{Device, Kind};

#[derive(Parser)]
struct Options {
    /// The checkpoint.
    #[arg(long, default_value = DEFAULT_MODEL)]
    model: PathBuf,
    /// cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Batch sizes.
    #[arg(long, value_delimiter = ',', default_value = "1,32")]
    batches: Vec<usize>,
    /// Types: fp32, bf16, fp16.
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16")]
    types: Vec<String>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Measurements of each; the median is printed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Folder of JPEG files, at any depth, whose codes are compared.
    #[arg(long, default_value = "samples")]
    samples: PathBuf,
    /// Folder of JPEG files to decode; the samples by default.
    #[arg(long)]
    photos: Option<PathBuf>,
    /// Cargo passes this flag to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let device = model::device(&options.device).unwrap();
    let threads = thread::spawn(tch::get_num_threads).join().unwrap();
    println!(
        "{}",
        json!({ "device": format!("{device:?}"), "threads": threads })
    );
    let types: Vec<(&str, Kind)> = options
        .types
        .iter()
        .map(|name| (name.as_str(), kind(name)))
        .collect();
    let samples = jpegs(&options.samples);
    // Runs in a separate thread, so that its OpenMP threads end with it.
    thread::scope(|scope| {
        let compare = || differing_bits(&options, device, &types, &samples);
        scope.spawn(compare).join().unwrap();
    });
    let photos = options.photos.as_deref().map_or(samples, jpegs);
    println!("{}", decoding(&options, &photos));
    for &(name, kind) in &types {
        for &batch in &options.batches {
            let bare = thread::scope(|scope| {
                let alone = || bare(&options, device, kind, batch);
                scope.spawn(alone).join().unwrap()
            });
            let worker = worker(&options, device, kind, batch);
            println!(
                "{}",
                json!({ "type": name, "batch": batch, "worker_per_s": rounded(worker), "bare": bare })
            );
        }
    }
}

fn kind(name: &str) -> Kind {
    match name {
        "fp32" => Kind::Float,
        "bf16" => Kind::BFloat16,
        "fp16" => Kind::Half,
        _ => panic!("{name}: types are fp32, bf16 and fp16"),
    }
}

/// Measures the bare model: images per second; the milliseconds of each stage, synchronised after
/// each one; and, for both networks together, the time to launch their operations and the time
/// until they are done. If the launch time is almost the whole time, the device waits for launches.
fn bare(options: &Options, device: Device, kind: Kind, batch: usize) -> serde_json::Value {
    let hasher = Hasher::load(&options.model, device, kind).unwrap();
    let (lengths, pixels) = (
        hasher.card().lengths.clone(),
        pixels(hasher.card().input_size),
    );
    let images = vec![&pixels; batch];
    for _ in 0..3 {
        hasher.encode(&images).unwrap();
    }
    let rate = median(options, || {
        let (seconds, passes) = repeat(options, || drop(hasher.encode(&images).unwrap()));
        (batch * passes) as f64 / seconds
    });
    let mut stages = [Duration::ZERO; 6];
    let (_, passes) = repeat(options, || {
        let mut lap_start = Instant::now();
        let mut lap = |stage: usize, waits: bool| {
            if waits {
                wait(device);
            }
            stages[stage] += std::mem::replace(&mut lap_start, Instant::now()).elapsed();
        };
        let uploaded = hasher.upload(&images).unwrap();
        lap(0, true);
        let features = hasher.features(&uploaded).unwrap();
        lap(1, true);
        let logits = hasher.logits(&features).unwrap();
        lap(2, true);
        drop(model::codes(&lengths, &logits).unwrap());
        lap(3, true);
        drop(hasher.logits(&hasher.features(&uploaded).unwrap()).unwrap());
        lap(4, false);
        lap(5, true);
    });
    let ms = stages.map(|stage| rounded(1000.0 * stage.as_secs_f64() / passes as f64));
    json!({
        "per_s": rounded(rate), "upload_ms": ms[0], "backbone_ms": ms[1], "policy_ms": ms[2], "codes_ms": ms[3],
        "asked_ms": ms[4], "done_ms": rounded(ms[4] + ms[5]),
    })
}

/// Measures the worker. Twice as many callers as a batch holds send one image at a time, so that
/// the next batch is ready when one is done.
fn worker(options: &Options, device: Device, kind: Kind, batch: usize) -> f64 {
    let path = options.model.clone();
    let config = BatchConfig {
        max_batch: batch,
        queue: 2 * batch,
        ..BatchConfig::default()
    };
    let started = Batcher::start([move || Hasher::load(&path, device, kind)], config).unwrap();
    let pixels = pixels(started.card.input_size);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let once = |seconds: f64| {
        let began = Instant::now();
        let call = || {
            let (batcher, pixels) = (started.batcher.clone(), pixels.clone());
            runtime.spawn(async move {
                let mut done = 0;
                while began.elapsed().as_secs_f64() < seconds {
                    let place = batcher.admit().unwrap();
                    batcher.encode(place, pixels.clone()).await.unwrap();
                    done += 1;
                }
                done
            })
        };
        let callers: Vec<_> = (0..2 * batch).map(|_| call()).collect();
        let done = callers
            .into_iter()
            .map(|caller| runtime.block_on(caller).unwrap());
        f64::from(done.sum::<u32>()) / began.elapsed().as_secs_f64()
    };
    once(options.seconds.min(0.1));
    let rate = median(options, || once(options.seconds));
    drop(started.batcher);
    for worker in started.workers {
        worker.join().unwrap();
    }
    rate
}

/// Prints how many bits of the samples' codes differ, for each type.
fn differing_bits(options: &Options, device: Device, types: &[(&str, Kind)], samples: &[Vec<u8>]) {
    let codes = |device, kind| -> Vec<HashCode> {
        let hasher = Hasher::load(&options.model, device, kind).unwrap();
        let input = hasher.card().input();
        let pixels: Vec<Pixels> = samples
            .iter()
            .map(|file| image::decode(file, input).unwrap().pixels)
            .collect();
        let batches = pixels
            .chunks(32)
            .map(|batch| batch.iter().collect::<Vec<_>>());
        batches
            .flat_map(|batch| hasher.encode(&batch).unwrap())
            .flat_map(|output| output.codes)
            .collect()
    };
    let known = codes(Device::Cpu, Kind::Float);
    let bits: usize = known.iter().map(|code| code.length().bits()).sum();
    for &(name, kind) in types {
        if (device, kind) == (Device::Cpu, Kind::Float) {
            continue;
        }
        let other = codes(device, kind);
        let pairs = known.iter().zip(&other);
        let differing: u32 = pairs
            .map(|(one, other)| (one.word() ^ other.word()).count_ones())
            .sum();
        println!(
            "{}",
            json!({ "differs_from": "fp32 on the CPU", "type": name, "bits": bits, "differing": differing })
        );
    }
}

/// Measures the images per second that one core decodes and resizes.
fn decoding(options: &Options, photos: &[Vec<u8>]) -> serde_json::Value {
    let card = model::checkpoint::read_card(&options.model).unwrap();
    let decode = |file: &Vec<u8>| drop(image::decode(file, card.input()).unwrap());
    let rate = median(options, || {
        let (seconds, passes) = repeat(options, || photos.iter().for_each(decode));
        (passes * photos.len()) as f64 / seconds
    });
    let bytes: usize = photos.iter().map(Vec::len).sum();
    json!({ "decoded_per_s_and_core": rounded(rate), "photos": photos.len(), "mean_bytes": bytes / photos.len() })
}

fn wait(device: Device) {
    if let Device::Cuda(number) = device {
        tch::Cuda::synchronize(number as i64);
    }
}

/// Calls `once` repeatedly for the seconds of the options, at least once. Returns the seconds and
/// the number of calls.
fn repeat(options: &Options, mut once: impl FnMut()) -> (f64, usize) {
    let (started, mut passes) = (Instant::now(), 0);
    while passes == 0 || started.elapsed().as_secs_f64() < options.seconds {
        once();
        passes += 1;
    }
    (started.elapsed().as_secs_f64(), passes)
}

fn median(options: &Options, mut measure: impl FnMut() -> f64) -> f64 {
    let mut runs: Vec<f64> = (0..options.runs.max(1)).map(|_| measure()).collect();
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn pixels(size: u32) -> Pixels {
    let count = size * size * 3;
    Pixels {
        size,
        rgb: (0..count).map(|i| (i * 7 % 251) as u8).collect(),
    }
}

fn jpegs(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut entries: Vec<PathBuf> = entries.collect();
    entries.sort();
    let files = entries.into_iter().flat_map(|path| match path {
        path if path.is_dir() => jpegs(&path),
        path if path.extension().is_some_and(|end| end == "jpg") => vec![fs::read(path).unwrap()],
        _ => Vec::new(),
    });
    files.collect()
}
