//! `bench filter`: measures searches of the directory with filters of several kinds and shares, in
//! memory and on one thread.

use std::{hint::black_box, path::PathBuf, time::Instant};

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::bench::{codes, percentiles, rounded},
    code::{HashCode, Length},
    index::{CodeSet, FieldValues, Filter, SetFilter},
};

/// The number of nearest images that are searched.
const NEAREST: usize = 10;
/// Prices and stocks are below this number.
const RANGE: u64 = 1_000_000;

/// The options of `scihcgrl bench filter`.
#[derive(Args)]
pub struct FilterBench {
    /// The codes: raw little-endian u64, each code in the low bits.
    #[arg(long)]
    codes: PathBuf,
    /// The queries, in the same form.
    #[arg(long)]
    queries: PathBuf,
    /// The length of the codes: 24, 32 or 48.
    #[arg(long)]
    bits: Length,
    /// The radius to search within.
    #[arg(long, default_value_t = 2)]
    radius: u32,
    /// One image in this many passes each filter; one or more.
    #[arg(long, num_args = 1.., default_values_t = [1, 10, 100, 1000, 100_000])]
    one_in: Vec<u64>,
    /// The kinds of filters to measure: keyword, range, three, negation.
    #[arg(long, num_args = 1.., default_values = ["keyword", "range", "three", "negation"])]
    kinds: Vec<String>,
}

pub fn run(options: &FilterBench) -> anyhow::Result<()> {
    let bits = options.bits;
    let words = codes::read(&options.codes, bits)?;
    let queries: Vec<HashCode> = codes::read(&options.queries, bits)?
        .into_iter()
        .map(|word| HashCode::from_word(bits, word))
        .collect();
    ensure!(
        !queries.is_empty(),
        "{} has no queries",
        options.queries.display()
    );
    let images = words.len() as u64;
    let started = Instant::now();
    let mut fields = vec![
        (
            "price".parse()?,
            FieldValues::Number(column(images, 1, f64_of)),
        ),
        (
            "stock".parse()?,
            FieldValues::Integer(column(images, 2, u64::cast_signed)),
        ),
        (
            "weight".parse()?,
            FieldValues::Integer(column(images, 3, u64::cast_signed)),
        ),
    ];
    for (seed, one_in) in (4..).zip(&options.one_in) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a remainder of a small number"
        )]
        let keyword = |value: u64| (value % one_in) as u32;
        let values = FieldValues::Keyword(column(images, seed, keyword));
        fields.push((format!("brand_{one_in}").parse()?, values));
    }
    let plain = CodeSet::new(bits, words.clone());
    let bytes = |set: &CodeSet| set.bytes() as f64 / images.max(1) as f64;
    let (without, columns) = (bytes(&plain), fields.len());
    drop(plain);
    let set = CodeSet::with_fields(bits, words, fields);
    print(json!({
        "op": "build", "images": images, "bits": bits, "fields": columns,
        "seconds": rounded(started.elapsed().as_secs_f64()),
        "bytes_per_image": rounded(without),
        "bytes_per_image_with_fields": rounded(bytes(&set)),
    }));
    let mut ids = Vec::new();
    let found = measure(&queries, |query| {
        ids.clear();
        set.ids(query, options.radius, &mut ids);
        black_box(&ids).len() as u64
    });
    print(json!({ "op": "ids", "radius": options.radius, "filter": null, "found": found }));
    for kind in &options.kinds {
        for &one_in in &options.one_in {
            let text = filter(kind, one_in)?;
            let parsed = set.filter(&text.parse::<Filter>()?)?;
            set.forget_filters();
            let started = Instant::now();
            let passing = set.count(&parsed);
            let first = started.elapsed();
            let mut line = json!({
                "op": "filter", "kind": kind, "one_in": one_in, "filter": text,
                "passing": passing, "first_ms": rounded(first.as_secs_f64() * 1000.0),
            });
            let within = search(&set, &queries, Some(options.radius), &parsed);
            let nearest = search(&set, &queries, None, &parsed);
            line["within"] = within;
            line["nearest"] = nearest;
            print(line);
        }
    }
    Ok(())
}

fn search(set: &CodeSet, queries: &[HashCode], radius: Option<u32>, filter: &SetFilter) -> Value {
    measure(queries, |query| {
        let (total, first) = set.search(query, radius, filter, NEAREST);
        black_box(first);
        total
    })
}

/// A filter that one image in `one_in` passes.
fn filter(kind: &str, one_in: u64) -> anyhow::Result<String> {
    let below = RANGE as f64 / one_in as f64;
    let third = RANGE as f64 / (one_in as f64).cbrt();
    Ok(match kind {
        "keyword" => format!("brand_{one_in} = \"0\""),
        "range" => format!("price < {below}"),
        "three" => format!("price < {third} AND stock < {third} AND weight < {third}"),
        "negation" => format!("NOT price >= {below}"),
        other => anyhow::bail!(
            "there are no filters of kind {other}; the kinds are keyword, range, three and negation"
        ),
    })
}

/// Runs each query once and returns the times. Some unmeasured searches come first, to allocate
/// memory.
fn measure(queries: &[HashCode], mut search: impl FnMut(&HashCode) -> u64) -> Value {
    queries.iter().take(16).for_each(|query| {
        search(query);
    });
    let (mut micros, mut results) = (Vec::with_capacity(queries.len()), 0);
    for query in queries {
        let started = Instant::now();
        results += search(query);
        micros.push(started.elapsed().as_nanos() as f64 / 1000.0);
    }
    let (median, p99) = percentiles(&mut micros);
    json!({
        "us_median": rounded(median), "us_p99": rounded(p99),
        "results": rounded(results as f64 / queries.len() as f64),
    })
}

/// A value for each image, derived from a pseudo-random number below [`RANGE`].
fn column<T>(images: u64, seed: u64, value: impl Fn(u64) -> T) -> Vec<T> {
    (0..images)
        .map(|image| value(mixed(image ^ seed << 40) % RANGE))
        .collect()
}

fn f64_of(value: u64) -> f64 {
    value as f64
}

/// SplitMix64's output function.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

fn print(line: Value) {
    println!("{line}");
}
