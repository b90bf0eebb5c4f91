//! `bench index`: measures the directory that every search of the service uses, in memory and on
//! one thread.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::bench::{percentiles, rounded},
    code::{HashCode, Length},
    index::CodeSet,
};

/// Number of queries in the repeated pass, few enough to stay in the processor's caches.
const REPEATED_QUERIES: usize = 16;
/// The number of nearest codes that `top_k` returns.
const TOP_K: usize = 10;

/// The options of `scihcgrl bench index`.
#[derive(Args)]
pub struct Codes {
    /// The codes: raw little-endian u64, each code in the low bits.
    #[arg(long)]
    codes: PathBuf,
    /// The queries, in the same form.
    #[arg(long)]
    queries: PathBuf,
    /// The length of the codes: 24, 32 or 48.
    #[arg(long)]
    bits: Length,
    /// The radii to search within, one or more.
    #[arg(long, default_value = "2", num_args = 1..)]
    radius: Vec<u32>,
    /// Number of images that `counted` returns in addition to the exact total.
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// The operations to measure: ids, counted, top_k.
    #[arg(long, num_args = 1.., default_values = ["ids", "counted", "top_k"])]
    ops: Vec<String>,
    /// Print JSON lines. This is also the default.
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Codes) -> anyhow::Result<()> {
    let bits = options.bits;
    let codes = read(&options.codes, bits)?;
    let queries: Vec<HashCode> = read(&options.queries, bits)?
        .into_iter()
        .map(|word| HashCode::from_word(bits, word))
        .collect();
    ensure!(
        !queries.is_empty(),
        "{} has no queries",
        options.queries.display()
    );
    let images = codes.len();
    let started = Instant::now();
    let set = CodeSet::new(bits, codes);
    print(json!({
        "op": "build", "codes": images, "bits": bits, "distinct": set.distinct(),
        "seconds": rounded(started.elapsed().as_secs_f64()),
        "bytes_per_image": rounded(set.bytes() as f64 / images.max(1) as f64),
    }));
    let wanted = |op: &str| options.ops.iter().any(|named| named == op);
    for &radius in &options.radius {
        if wanted("ids") {
            let mut ids = Vec::new();
            measure("ids", Some(radius), &queries, |query| {
                ids.clear();
                set.ids(query, radius, &mut ids);
                black_box(&ids).len()
            });
        }
        if wanted("counted") {
            measure("counted", Some(radius), &queries, |query| {
                let (total, first) = set.counted(query, radius, options.limit);
                black_box(first);
                usize::try_from(total).unwrap_or(usize::MAX)
            });
        }
    }
    if wanted("top_k") {
        measure("top_k", None, &queries, |query| {
            black_box(set.nearest(query, TOP_K)).len()
        });
    }
    Ok(())
}

/// Measures each query once, then a few of them repeatedly. Some unmeasured searches come first, to
/// allocate memory.
fn measure(
    op: &str,
    radius: Option<u32>,
    queries: &[HashCode],
    mut search: impl FnMut(&HashCode) -> usize,
) {
    for query in queries.iter().take(REPEATED_QUERIES) {
        search(query);
    }
    let mut pass = |name: &str, queries: &mut dyn Iterator<Item = &HashCode>| {
        let (mut micros, mut results) = (Vec::new(), 0);
        for query in queries {
            let started = Instant::now();
            results += search(query);
            micros.push(started.elapsed().as_nanos() as f64 / 1000.0);
        }
        let results = results as f64 / micros.len() as f64;
        let (median, p99) = percentiles(&mut micros);
        print(json!({
            "op": op, "radius": radius, "queries": name, "us_median": rounded(median),
            "us_p99": rounded(p99), "results": rounded(results),
        }));
    };
    pass("fresh", &mut queries.iter());
    let few = &queries[..queries.len().min(REPEATED_QUERIES)];
    pass("repeated", &mut few.iter().cycle().take(queries.len()));
}

/// Reads codes of a length from a file.
pub(super) fn read(path: &Path, bits: Length) -> anyhow::Result<Vec<u64>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (words, rest) = bytes.as_chunks();
    ensure!(
        rest.is_empty(),
        "{} has {} bytes, which is not a multiple of 8",
        path.display(),
        bytes.len()
    );
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    ensure!(
        words.iter().all(|word| word >> bits.bits() == 0),
        "{} has words of more than {bits} bits",
        path.display()
    );
    Ok(words)
}

fn print(line: Value) {
    println!("{line}");
}
