//! `bench store`: measures a new store that is filled, changed and searched as by a service.

use std::{
    fs,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    cli::bench::{
        images::{FIELDS, Images, LABELS},
        memory, percentiles, rounded,
    },
    code::Length,
    index::{
        Filter, Index, IndexConfig, IndexError, NewImage, Order, Precondition, Query, Requirement,
        SketchStorage,
    },
};

/// The options of `scihcgrl bench store`.
#[derive(Args)]
pub struct StoreBench {
    /// A folder that does not exist yet. It is removed at the end unless --keep-for is given.
    #[arg(long)]
    data_dir: PathBuf,
    /// The number of images.
    #[arg(long, default_value_t = 1_000_000)]
    images: u32,
    /// The number of centres that codes lie around, or 0 for uniform codes.
    #[arg(long, default_value_t = 10)]
    centres: usize,
    /// The number of images to change at the end: half are replaced, half are deleted.
    #[arg(long, default_value_t = 100_000)]
    changes: u32,
    /// The duration in seconds of each measurement of searches, and roughly of the phase of single
    /// writes.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Bytes of memory for sled's cache.
    #[arg(long, env = "SCIHCGRL_CACHE_BYTES", default_value_t = 256 << 20)]
    cache_bytes: u64,
    /// Bytes of each image's sketch. By default images have none.
    #[arg(long, value_name = "BYTES")]
    sketch: Option<usize>,
    /// Keep sketches in memory or on disk.
    #[arg(long, default_value = "memory")]
    sketches: SketchStorage,
    /// Give a half, a hundredth and a ten-thousandth of the images one label each, and measure
    /// searches with these labels.
    #[arg(long)]
    labels: bool,
    /// Give images payloads of four members. Declare three as fields before the images are stored,
    /// and measure how long it takes to build the fourth, and searches meanwhile.
    #[arg(long)]
    fields: bool,
    /// Keep the folder, as one of the model with this id, so that `serve` accepts it.
    #[arg(long, value_name = "MODEL_ID")]
    keep_for: Option<String>,
    /// The numeric type to record for the codes of that model.
    #[arg(long, default_value = "fp32")]
    precision: String,
}

/// Concurrent writes in phases that measure commits of large groups.
const GROUP_WRITERS: usize = 1024;
/// Row pages in each write that builds a field, as in a job.
const PAGES_PER_WRITE: u32 = 16;
/// Concurrent writers in the phase of single writes.
const SINGLE_WRITERS: usize = 32;

pub fn run(options: &StoreBench) -> anyhow::Result<()> {
    let path = &options.data_dir;
    ensure!(
        !path.exists(),
        "{} exists already; name a new folder",
        path.display()
    );
    let measured = measure(options);
    if path.exists() && options.keep_for.is_none() {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    measured
}

fn measure(options: &StoreBench) -> anyhow::Result<()> {
    let runtime = Runtime::new().context("cannot start the runtime")?;
    let images = options.images as usize;
    let source = Images::new(
        options.centres,
        options.sketch,
        options.labels,
        options.fields,
    );
    let source = Arc::new(source);
    let index = open(options)?;
    for (path, kind) in FIELDS[..3].iter().filter(|_| options.fields) {
        runtime.block_on(index.declare(path.parse()?, *kind))?;
    }

    let write = |from: usize, to: usize, writers: usize| {
        let (index, source) = (index.clone(), source.clone());
        each(&runtime, from..to, writers, move |number| {
            let (index, image) = (index.clone(), source.image(number));
            async move { index.put(image).await.map(drop) }
        })
    };
    let rate = write(0, images, GROUP_WRITERS)?;
    print(
        "insert_in_groups",
        options,
        &index,
        json!({ "in_flight": GROUP_WRITERS, "per_second": rate.round() }),
    );

    let singly = options.seconds as usize * 20_000;
    let rate = write(images, images + singly, SINGLE_WRITERS)?;
    print(
        "insert_singly",
        options,
        &index,
        json!({ "writers": SINGLE_WRITERS, "per_second": rate.round() }),
    );

    let quiet = searches(&index, &source, options.seconds, &within);
    print("search_quiet", options, &index, quiet);
    let candidates = Some(Order::DEFAULT_CANDIDATES);
    let by_similarity = Order::Similarity {
        candidates,
        min_similarity: None,
    };
    let label = |label: Option<&str>| label.map(str::to_owned).into_iter().collect();
    let nearest = |order: Order, labels: Vec<String>| {
        move |source: &Images, number: usize| Query {
            sketch: source.sketch(number),
            radius: None,
            order,
            filter: Filter::any_label(labels.clone()),
            ..within(source, number)
        }
    };
    let mut nearests = vec![("nearest_by_distance", Order::Distance)];
    if options.sketch.is_some() {
        nearests.push(("nearest_by_similarity", by_similarity));
    }
    for (op, order) in nearests {
        let labels = LABELS.into_iter().filter(|_| options.labels);
        for name in [None].into_iter().chain(labels.map(|(name, _)| Some(name))) {
            let query = nearest(order, label(name));
            let mut measured = searches(&index, &source, options.seconds, &query);
            measured["label"] = json!(name);
            print(op, options, &index, measured);
        }
    }
    let from = images + singly;
    let (busy, rate) = std::thread::scope(|scope| {
        let searching = scope.spawn(|| searches(&index, &source, options.seconds, &within));
        let mut written = (0, 0.0);
        while !searching.is_finished() {
            let start = from + written.0;
            let rate = write(start, start + 20_000, GROUP_WRITERS);
            written = (written.0 + 20_000, rate.unwrap_or(f64::NAN));
        }
        (searching.join(), written.1)
    });
    let busy = busy.map_err(|_| anyhow::anyhow!("the searching thread panicked"))?;
    print(
        "search_during_inserts",
        options,
        &index,
        json!({ "searches": busy, "inserts_per_second": rate.round() }),
    );

    if options.fields {
        let (built, busy) = std::thread::scope(|scope| {
            let building = scope.spawn(|| build_field(&runtime, &index));
            let mut busy = Vec::new();
            while !building.is_finished() {
                busy.push(searches(&index, &source, 1, &within));
            }
            (building.join(), busy)
        });
        let seconds = built.map_err(|_| anyhow::anyhow!("the building thread panicked"))??;
        let measured = json!({ "seconds": rounded(seconds), "searches_each_second": busy });
        print("build_field", options, &index, measured);
    }

    let (changing, changed) = (index.clone(), source.clone());
    let changes = 0..options.changes as usize;
    let rate = each(&runtime, changes, GROUP_WRITERS, move |change| {
        // A prime spreads the changes over all images.
        let number = change * 7_368_787 % images;
        let (index, source) = (changing.clone(), changed.clone());
        async move {
            let id = Images::id(number);
            if change.is_multiple_of(2) {
                let image = source.image(number + 1_000_000_007);
                index.put(NewImage { id, ..image }).await.map(drop)
            } else {
                index.delete(id, Precondition::default()).await.map(drop)
            }
        }
    })?;
    print(
        "change",
        options,
        &index,
        json!({ "changes": options.changes, "per_second": rate.round() }),
    );
    std::thread::sleep(Duration::from_secs(5));
    print("settled", options, &index, json!({}));

    let started = Instant::now();
    index.close()?;
    let before = index.stats().images;
    drop(index);
    let closed = started.elapsed();
    for open_number in 1..=2 {
        let started = Instant::now();
        let index = open(options)?;
        let seconds = rounded(started.elapsed().as_secs_f64());
        ensure!(
            index.stats().images == before,
            "{} of {before} images are there",
            index.stats().images
        );
        let line = json!({ "time": open_number, "seconds": seconds, "close_seconds": rounded(closed.as_secs_f64()) });
        print("open", options, &index, line);
    }
    Ok(())
}

/// Declares and builds the last field, as a job does. Returns the seconds that it took.
fn build_field(runtime: &Runtime, index: &Index) -> anyhow::Result<f64> {
    let started = Instant::now();
    let (path, kind) = FIELDS[3];
    let field = runtime.block_on(index.declare(path.parse()?, kind))?;
    let mut next = 0;
    while next < index.pages()? {
        let pages = next..next + PAGES_PER_WRITE;
        runtime.block_on(index.build_field(field.number, pages))?;
        next += PAGES_PER_WRITE;
    }
    runtime.block_on(index.finish_field(field.number))?;
    Ok(started.elapsed().as_secs_f64())
}

/// Makes a query within radius 2, by the codes of an image that is not stored.
fn within(source: &Images, number: usize) -> Query {
    Query {
        code: source.codes(number)[2],
        sketch: None,
        radius: Some(2),
        order: Order::Distance,
        limit: 10,
        offset: 0,
        filter: None,
        generation: None,
    }
}

/// Measures sequential searches for some seconds.
fn searches(
    index: &Index,
    source: &Images,
    seconds: u32,
    query: &dyn Fn(&Images, usize) -> Query,
) -> Value {
    let (started, mut micros, mut failed, mut number) = (Instant::now(), Vec::new(), 0, 0);
    while started.elapsed() < Duration::from_secs(seconds.into()) {
        let query = query(source, number + 2_000_000_011);
        let query_started = Instant::now();
        failed += u32::from(index.search(&query).is_err());
        micros.push(query_started.elapsed().as_nanos() as f64 / 1000.0);
        number += 1;
    }
    let most = micros.iter().copied().fold(0.0, f64::max);
    let count = micros.len();
    let (median, p99) = percentiles(&mut micros);
    json!({
        "count": count, "failed": failed, "us_median": rounded(median), "us_p99": rounded(p99),
        "us_max": rounded(most),
    })
}

fn open(options: &StoreBench) -> anyhow::Result<Index> {
    Ok(Index::open(IndexConfig {
        path: options.data_dir.clone(),
        model: Requirement::Exact(
            options
                .keep_for
                .clone()
                .unwrap_or_else(|| "benchmark".to_owned()),
        ),
        precision: Requirement::Preferred(options.precision.clone()),
        lengths: Length::ALL.to_vec(),
        sketch: options.sketch,
        sketch_storage: Some(options.sketches),
        gallery: None,
        cache_bytes: options.cache_bytes,
    })?)
}

fn print(op: &str, options: &StoreBench, index: &Index, more: Value) {
    let stats = index.stats();
    let per = |bytes: u64| rounded(bytes as f64 / stats.images.max(1) as f64);
    println!(
        "{}",
        json!({
            "op": op, "centres": options.centres, "images": stats.images, "measured": more,
            "disk_bytes_per_image": per(stats.disk_bytes),
            "memory_bytes_per_image_and_length": rounded(per(stats.memory_bytes) / 3.0),
            "resident_bytes": memory("VmRSS:"),
        })
    );
}

/// Runs work for each number on `tasks` concurrent tasks. Returns the number of completed calls per
/// second.
fn each<F: Future<Output = Result<(), IndexError>> + Send + 'static>(
    runtime: &Runtime,
    numbers: Range<usize>,
    tasks: usize,
    one: impl Fn(usize) -> F + Send + Sync + 'static,
) -> anyhow::Result<f64> {
    let (count, started) = (numbers.len(), Instant::now());
    let shared = Arc::new((AtomicUsize::new(numbers.start), one));
    runtime.block_on(async {
        let mut running = JoinSet::<anyhow::Result<()>>::new();
        for _ in 0..tasks {
            let shared = shared.clone();
            running.spawn(async move {
                loop {
                    let number = shared.0.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return Ok(());
                    }
                    (shared.1)(number).await?;
                }
            });
        }
        while let Some(done) = running.join_next().await {
            done.context("a writing task panicked")??;
        }
        Ok(count as f64 / started.elapsed().as_secs_f64())
    })
}
