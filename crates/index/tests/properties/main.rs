//! Tests of the index through its public interface, and the images that they share. Of the disk
//! they rely only on what the newest file in migrations/ says.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "small or arbitrary values"
)]

use std::path::Path;

use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence, RngSeed},
};
use scihcgrl_index::{
    Codes, Filter, ImageId, Index, IndexConfig, IndexError, NewImage, Order, Query, Record,
    Requirement, SearchResult, Sketch, SketchStorage,
    code::{HashCode, Length},
};
use serde_json::json;

mod concurrency;
mod filters;
mod folders;
mod generations;
mod log;
mod plain_list;

/// Inputs that failed once; they are tried first from then on.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions");

/// Configures `few` cases of a fixed seed. If `TEST_LONG` is set, as `make test-long` does, runs
/// twenty times as many of a random seed and adds failures to [`REGRESSIONS`].
fn cases(few: u32, seed: u64) -> Config {
    let usual = Config::default();
    match std::env::var_os("TEST_LONG") {
        Some(_) => Config {
            cases: 20 * few,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
            ..usual
        },
        None => Config {
            cases: few,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(seed),
            ..usual
        },
    }
}

fn open(path: &Path) -> Result<Index, IndexError> {
    open_as(path, "0123456789ab", &Length::ALL)
}

fn open_as(path: &Path, model: &str, lengths: &[Length]) -> Result<Index, IndexError> {
    open_in(
        path,
        model,
        Requirement::Preferred("fp32".to_owned()),
        lengths,
    )
}

/// Same as [`open`], with a choice of where sketches are kept.
fn open_with_sketches(path: &Path, sketch_storage: SketchStorage) -> Result<Index, IndexError> {
    let precision = Requirement::Preferred("fp32".to_owned());
    Index::open(IndexConfig {
        sketch_storage: Some(sketch_storage),
        ..config(path, "0123456789ab", precision, &Length::ALL)
    })
}

fn open_in(
    path: &Path,
    model: &str,
    precision: Requirement,
    lengths: &[Length],
) -> Result<Index, IndexError> {
    Index::open(config(path, model, precision, lengths))
}

fn config(path: &Path, model: &str, precision: Requirement, lengths: &[Length]) -> IndexConfig {
    IndexConfig {
        path: path.to_owned(),
        model: Requirement::Exact(model.to_owned()),
        precision,
        lengths: lengths.to_vec(),
        sketch: Some(SKETCH),
        sketch_storage: Some(SketchStorage::Memory),
        gallery: None,
        cache_bytes: 16 << 20,
    }
}

/// The size of a sketch in bytes.
const SKETCH: usize = 3;

/// Few distinct sketches of `bytes` bytes, so that many are equally similar.
fn sketch(bytes: usize, seed: u8) -> Sketch {
    let values = (0..bytes).map(|at| (seed.rotate_right(2 * at as u32) & 3) as i8 - 1);
    Sketch::from_values(values.collect()).unwrap()
}

/// A search of the active generation, with or without a sketch to compare with.
fn query() -> impl Strategy<Value = Query> {
    let radius = (prop_oneof![0u32..6, 0u32..=48], any::<bool>());
    let page = (0usize..40, 0usize..12);
    (0usize..3, any::<u8>(), radius, order(), page, 0u8..16).prop_map(
        |(length, seed, (radius, near), order, (limit, offset), bits)| Query {
            code: codes(seed)[length],
            sketch: order.map(|_| sketch(SKETCH, seed.rotate_left(3))),
            radius: near.then(|| radius.min(Length::ALL[length].bits() as u32)),
            order: order.unwrap_or(Order::Distance),
            limit,
            offset,
            filter: Filter::any_label(wanted(bits)),
            generation: None,
        },
    )
}

/// An order; `None` means no sketch to compare with.
fn order() -> impl Strategy<Value = Option<Order>> {
    let min_similarity = prop::option::of((-2i8..=2).prop_map(|half| f32::from(half) / 2.0));
    let similar =
        (prop::option::of(1usize..50), min_similarity).prop_map(|(candidates, min_similarity)| {
            Order::Similarity {
                candidates,
                min_similarity,
            }
        });
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Order::Distance)),
        3 => similar.prop_map(Some),
    ]
}

/// Labels to filter by, sometimes including one that no image has.
fn wanted(bits: u8) -> Vec<String> {
    let mut wanted = labels(bits);
    wanted.extend((bits & 8 != 0).then(|| "no such label".to_owned()));
    wanted
}

/// The labels that a query of these tests filters by.
fn labels_in(query: &Query) -> Vec<String> {
    let asked = (0..16)
        .map(wanted)
        .find(|labels| Filter::any_label(labels.clone()) == query.filter);
    asked.unwrap()
}

/// An image of a plain list: its distance, code, id and sketch.
type Held<'a> = (u32, HashCode, ImageId, Option<&'a Sketch>);
/// A match: its distance, code, id and similarity.
type Shown = (u32, HashCode, ImageId, Option<f32>);

/// The expected result of a search: the total, whether the candidates are complete, and the
/// matches. `all` has the images within the radius, the older first.
fn expected(mut all: Vec<Held>, query: &Query) -> (u64, bool, Vec<Shown>) {
    // A stable sort, so that age decides last.
    all.sort_by_key(|(distance, code, ..)| (*distance, code.word()));
    let similarity = |one: Option<&Sketch>| Some(query.sketch.as_ref()?.similarity(one?));
    let shown = |(distance, code, id, sketch): Held| (distance, code, id, similarity(sketch));
    let mut all: Vec<Shown> = all.into_iter().map(shown).collect();
    if let (
        Order::Similarity {
            candidates,
            min_similarity,
        },
        Some(_),
    ) = (query.order, &query.sketch)
    {
        let mut end = candidates.unwrap_or(all.len()).min(all.len());
        while end > 0 && end < all.len() && all[end].0 == all[end - 1].0 {
            end += 1;
        }
        let rest = all.split_off(end);
        // No similarity is below −1.
        all.sort_by(|a, b| b.3.unwrap_or(-2.0).total_cmp(&a.3.unwrap_or(-2.0)));
        match min_similarity {
            Some(min_similarity) => {
                all.retain(|one| one.3.is_some_and(|alike| alike >= min_similarity));
            }
            None => all.extend(rest),
        }
    }
    let total = all.len() as u64;
    let page = all.into_iter().skip(query.offset).take(query.limit);
    (total, true, page.collect())
}

/// The result of a search in the same form.
fn shown(found: &SearchResult) -> (u64, bool, Vec<Shown>) {
    let matches = found.matches.iter().map(|found| {
        let id = found.record.id.clone();
        (found.distance, found.code, id, found.similarity)
    });
    (found.total, found.complete, matches.collect())
}

fn id(number: usize) -> ImageId {
    format!("image-{number}").parse().unwrap()
}

/// Few distinct codes, near each other: the seed's bits are at both ends of each length.
fn codes(seed: u8) -> Vec<HashCode> {
    let word = |length: Length| {
        u64::from(seed & 7) | u64::from(seed >> 3 & 3) << (length.bits() - 2) | 0xab_cd00
    };
    Length::ALL
        .map(|length| HashCode::from_word(length, word(length)))
        .to_vec()
}

fn labels(bits: u8) -> Vec<String> {
    (0..3)
        .filter(|bit| bits >> bit & 1 == 1)
        .map(|bit| format!("label {bit}"))
        .collect()
}

fn image(number: usize, seed: u8, bits: u8) -> NewImage {
    NewImage {
        id: id(number),
        codes: vec![Codes {
            generation: 1,
            codes: codes(seed),
            sketch: Some(sketch(SKETCH, seed)),
        }],
        labels: labels(bits),
        payload: (bits & 8 != 0).then(|| json!({ "seed": seed })),
        media_type: format!("image/{seed}"),
        bytes: u64::from(bits),
        original: None,
        times: None,
    }
}

fn check_record(record: &Record, image: &NewImage) {
    assert_eq!(record.id, image.id);
    assert_eq!(record.codes, image.codes[0].codes);
    assert_eq!(record.sketch, image.codes[0].sketch);
    assert_eq!(record.labels, image.labels);
    assert_eq!(record.payload, image.payload);
    assert_eq!(record.media_type, image.media_type);
    assert_eq!(record.bytes, image.bytes);
    assert_eq!(record.original, image.original);
    assert!(record.created_at_ms > 0 && record.created_at_ms <= record.updated_at_ms);
}
