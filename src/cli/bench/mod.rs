//! Measuring the index with codes of one's own: what a search costs beside other programs, and what storing costs; and what a training
//! may wait for, its pictures. Prints JSON lines; knows what it measures as its callers do, and no targets.

mod codes;
mod copies;
mod images;
mod pictures;
mod store;

use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub enum Bench {
    /// Search a file of codes by a file of queries, in memory, on one thread; print what that takes.
    Index(codes::Codes),
    /// Fill a new store, change it, search it meanwhile and open it again; print what that takes.
    Store(store::StoreBench),
    /// Find the groups of copies among sketches made for it, in memory, on one thread; print what that takes.
    Copies(copies::CopiesBench),
    /// Make pictures to train on, without training; print how many a second.
    Pictures(pictures::PicturesBench),
}

/// Measures.
///
/// # Errors
/// Whatever stopped it, in words.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Index(codes) => codes::run(codes),
        Bench::Store(store) => store::run(store),
        Bench::Copies(copies) => copies::run(copies),
        Bench::Pictures(pictures) => pictures::run(pictures),
    }
}

/// The median and the 99th percentile of some times in microseconds.
fn percentiles(micros: &mut [f64]) -> (f64, f64) {
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied();
    (at(0.5).unwrap_or(f64::NAN), at(0.99).unwrap_or(f64::NAN))
}

/// Three digits after the point are more than a clock knows.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Bytes of this process's memory as Linux tells them: `VmRSS:` is what is resident, `VmHWM:` the most that ever was; 0 elsewhere.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
