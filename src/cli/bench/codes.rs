//! `bench index`: codes and queries from files of raw little-endian words, searched in memory by one thread.
//! Knows no store; what is measured is the directory that every search of the service goes through.

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

/// How many queries are repeated, so that what they touch stays in the processor's caches.
const REPEATED: usize = 16;
/// How many of the nearest are asked for.
const NEAREST: usize = 10;

/// See the module.
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
    /// The radii to search within; may be repeated.
    #[arg(long, default_value = "2", num_args = 1..)]
    radius: Vec<u32>,
    /// How many images `counted` returns besides the exact total.
    #[arg(long, default_value_t = 10)]
    limit: usize,
    /// Leave out operations that are not named here: ids, counted, top_k.
    #[arg(long, num_args = 1.., default_values = ["ids", "counted", "top_k"])]
    ops: Vec<String>,
    /// Print JSON lines, which is also what is printed without this flag.
    #[arg(long)]
    json: bool,
}

/// Measures.
///
/// # Errors
/// A file that cannot be read or holds no codes of this length.
pub fn run(options: &Codes) -> anyhow::Result<()> {
    let bits = options.bits;
    let codes = read(&options.codes, bits)?;
    let queries: Vec<HashCode> = read(&options.queries, bits)?
        .into_iter()
        .map(|word| HashCode::from_word(bits, word))
        .collect();
    ensure!(
        !queries.is_empty(),
        "{} holds no queries",
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
                total as usize
            });
        }
    }
    if wanted("top_k") {
        measure("top_k", None, &queries, |query| {
            black_box(set.nearest(query, NEAREST)).len()
        });
    }
    Ok(())
}

/// Every query once, and then a few of them again and again. One pass goes before, for memory to be there.
fn measure(
    op: &str,
    radius: Option<u32>,
    queries: &[HashCode],
    mut search: impl FnMut(&HashCode) -> usize,
) {
    for query in queries.iter().take(REPEATED) {
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
    let few = &queries[..queries.len().min(REPEATED)];
    pass("repeated", &mut few.iter().cycle().take(queries.len()));
}

fn read(path: &Path, bits: Length) -> anyhow::Result<Vec<u64>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (words, rest) = bytes.as_chunks();
    ensure!(
        rest.is_empty(),
        "{} has {} bytes, which are not whole words of 8",
        path.display(),
        bytes.len()
    );
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    ensure!(
        words.iter().all(|word| word >> bits.bits() == 0),
        "{} holds words of more than {bits} bits",
        path.display()
    );
    Ok(words)
}

fn print(line: Value) {
    println!("{line}");
}
