//! Images a second that the batching worker encodes, against the bare model on batches that are ready, in one run.
//! Prints a table; asserts nothing, for machines differ. `SCIHCGRL_MODEL` names another checkpoint than the default one.

#![allow(clippy::unwrap_used)] // allow-unwrap: a benchmark stops where it fails

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use scihcgrl::{
    batch::{BatchConfig, Batcher},
    image::Pixels,
    model::Hasher,
};
use tch::{Device, Kind};

/// Measurements a cell; the median is shown.
const RUNS: usize = 5;
const LENGTH: Duration = Duration::from_secs(2);

fn main() {
    let model = std::env::var("SCIHCGRL_MODEL").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/models/cifar10.safetensors").into()
    });
    let threads = thread::spawn(tch::get_num_threads).join().unwrap();
    println!("images/s on {threads} threads, median of {RUNS} runs");
    println!("type  batch  bare model  worker  worker / bare");
    for (name, kind) in [("fp32", Kind::Float), ("bf16", Kind::BFloat16)] {
        for batch in [1, 32] {
            let path = model.clone();
            let load = move || Hasher::load(Path::new(&path), Device::Cpu, kind);
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
            };
            let started = Batcher::start(load, config).unwrap();
            let pixels = pixels(started.card.input_size);
            let worker = median(|| through_worker(&started.batcher, &pixels, batch));
            println!(
                "{name}  {batch:>5}  {bare:>10.1}  {worker:>6.1}  {:>13.3}",
                worker / bare
            );
            drop(started.batcher);
            started.worker.join().unwrap();
        }
    }
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
                        batcher.encode(pixels.clone()).await.unwrap();
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
