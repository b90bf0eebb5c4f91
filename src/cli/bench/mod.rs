//! `scihcgrl bench`: measurements that print JSON lines. They use public interfaces only and check
//! no targets.
//!
//! - `codes`: search in memory
//! - `filter`: search in memory with filters
//! - `store`: a store on disk
//! - `images`: its synthetic images
//! - `copies`: groups of copies
//! - `pictures`: reading pictures for training

mod codes;
mod copies;
mod filter;
mod images;
mod pictures;
mod store;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum Bench {
    /// Measure searches of a file of queries in a file of codes, in memory, on one thread.
    Index(codes::Codes),
    /// Measure searches with filters in a file of codes with generated fields, in memory, on one
    /// thread.
    Filter(filter::FilterBench),
    /// Measure a new store: filling, changing, searching at the same time, and opening it again.
    Store(store::StoreBench),
    /// Measure the search for groups of copies among generated sketches, in memory, on one thread.
    Copies(copies::CopiesBench),
    /// Measure how many training pictures are prepared per second, without training.
    Pictures(pictures::PicturesBench),
}

pub fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Index(codes) => codes::run(codes),
        Bench::Filter(filter) => filter::run(filter),
        Bench::Store(store) => store::run(store),
        Bench::Copies(copies) => copies::run(copies),
        Bench::Pictures(pictures) => pictures::run(pictures),
    }
}

/// Returns the median and the 99th percentile of times in microseconds.
fn percentiles(micros: &mut [f64]) -> (f64, f64) {
    micros.sort_by(f64::total_cmp);
    let percentile = |percent: usize| micros.get(micros.len() * percent / 100).copied();
    (
        percentile(50).unwrap_or(f64::NAN),
        percentile(99).unwrap_or(f64::NAN),
    )
}

/// Rounds to three decimals, which is more than a clock measures.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Returns a field of `/proc/self/status` in bytes: `VmRSS:` is resident memory, `VmHWM:` its peak.
/// Returns 0 on other systems than Linux.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
