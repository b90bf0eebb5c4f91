//! `bench pictures`: measures how many pictures per second are read and made into batches, without
//! a network.

use std::{path::PathBuf, thread, time::Instant};

use crate::model::Device;
use clap::Args;
use serde_json::json;

use crate::{
    cli::bench::rounded,
    image::Input,
    train::data::{
        self,
        augment::Augment,
        pictures::Pictures,
        prefetch::{BatchPlan, Prefetch},
    },
};

/// The options of `scihcgrl bench pictures`.
#[derive(Args)]
pub struct PicturesBench {
    /// The data, in any form that `train` takes.
    #[arg(long)]
    data: PathBuf,
    /// Side of the square input, pixels.
    #[arg(long, default_value_t = 128)]
    input_size: u32,
    /// Images in a batch.
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// The strength of random changes of pictures, 0 to 1.
    #[arg(long, default_value_t = 0.5)]
    augment: f64,
    /// Threads that prepare pictures. By default one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// Minimum duration of the measurement, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
}

pub fn run(options: &PicturesBench) -> anyhow::Result<()> {
    let side = options.input_size;
    let started = Instant::now();
    let pictures = Pictures::read(
        &data::open(&options.data)?,
        None,
        Input::stretched(side),
        None,
        0,
    )?;
    let (read, count) = (started.elapsed().as_secs_f64(), pictures.labels.len());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(cores).max(1);
    let numbers: Vec<usize> = (0..count).collect();
    let (started, mut made) = (Instant::now(), 0);
    while started.elapsed().as_secs_f64() < options.seconds {
        let plan = BatchPlan {
            pictures: &pictures,
            batches: (made as u64..)
                .zip(numbers.chunks(options.batch_size.max(1)))
                .collect(),
            side,
            augment: Some(Augment::new(options.augment)),
        };
        thread::scope(|scope| {
            for batch in Prefetch::start(scope, plan, threads, Device::Cpu) {
                made += batch?.numbers.len();
            }
            anyhow::Ok(())
        })?;
    }
    let line = json!({
        "pictures": count,
        "read_per_s": rounded(count as f64 / read),
        "input_size": side,
        "threads": threads,
        "made_per_s": rounded(made as f64 / started.elapsed().as_secs_f64()),
    });
    println!("{line}");
    Ok(())
}
