//! Stores that apply the same log are equal and answer searches as a plain list does, however the
//! writes are grouped and whenever a store is reopened.

use std::collections::BTreeSet;

use proptest::prelude::*;
use scihcgrl_index::{
    FieldType, Filter, Generation, Index, IndexConfig, ListQuery, LogOrigin, LogPosition,
    OriginalKey, Outcome, Precondition, Query, Recoded, Requirement, Revisions, Times, Write,
    code::Length,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{
    SKETCH, cases, codes, config, expected, id, image, labels, labels_in, query, shown, sketch,
    wanted,
};

const GALLERY: Uuid = Uuid::from_u128(7);

fn open(path: &std::path::Path) -> Index {
    let precision = Requirement::Preferred("fp32".to_owned());
    Index::open(IndexConfig {
        model: Requirement::Preferred("0123456789ab".to_owned()),
        gallery: Some(LogOrigin {
            id: GALLERY,
            began_with: None,
        }),
        ..config(path, "", precision, &Length::ALL)
    })
    .unwrap()
}

/// The paths of the fields that are declared.
const PATHS: [&str; 3] = ["a", "b.c", "tags"];
/// The types that they are declared with.
const KINDS: [FieldType; 4] = [
    FieldType::Keyword,
    FieldType::Integer,
    FieldType::Time,
    FieldType::Bool,
];

/// A payload with some of these fields. Some keywords have the text of a label.
fn payload(bits: u8) -> Value {
    let word = format!("label {}", bits >> 4);
    match bits % 7 {
        0 => json!({ "a": bits, "b": { "c": word } }),
        1 => json!({ "a": null, "b": [{ "c": bits }, { "c": [] }] }),
        2 => json!({ "a": [word, "another", bits > 90], "tags": [] }),
        3 => json!({ "tags": ["b", "a", word], "b": null }),
        4 => json!({ "tags": "2020-01-01T00:00:00Z", "a": { "b": word } }),
        5 => json!({}),
        _ => json!(bits),
    }
}

/// A key of one of the first blocks, opened or not.
fn original(number: u16) -> OriginalKey {
    serde_json::from_value(json!(number % 300)).unwrap()
}

/// A write of an image with a precondition.
fn conditional_write() -> impl Strategy<Value = Write> {
    let some = || {
        prop_oneof![
            2 => Just(None),
            1 => Just(Some(Revisions::Any)),
            1 => Just(Some(Revisions::These(vec!["none".to_owned()]))),
        ]
    };
    let of = |(write, one_of, none_of, passes): (Write, _, _, Option<u8>)| {
        // Every other filter is of labels that images have.
        let passes = passes.and_then(|bits| Filter::any_label(wanted(bits % 16)));
        let passes = passes.map(|filter| filter.to_string());
        let id = match &write {
            Write::Put(image) => image.id.clone(),
            Write::Patch { id, .. } | Write::Merge { id, .. } | Write::Delete { id } => id.clone(),
            other => panic!("{other:?} is not a write of an image"),
        };
        let expected = Precondition {
            one_of,
            none_of,
            passes,
        };
        let write = Box::new(write);
        Write::If {
            id,
            expected,
            write,
        }
    };
    (write_of_an_image(), some(), some(), any::<Option<u8>>()).prop_map(of)
}

fn write_of_an_image() -> impl Strategy<Value = Write> {
    let put = |(number, seed, bits, name, at): (usize, u8, u8, Option<u16>, u64)| {
        let mut image = image(number, seed, bits);
        // Codes of the first generation; after an activation some of these writes fail.
        image.codes[0].generation = 1 + u32::from(bits >> 6);
        // A few lack the required sketch, and fail.
        image.codes[0].sketch = (seed % 9 > 0).then(|| sketch(SKETCH, seed));
        image.original = name.map(original);
        image.payload = Some(payload(seed.wrapping_mul(bits)));
        image.times = Some(Times {
            created_at_ms: at,
            updated_at_ms: at,
        });
        Write::Put(Box::new(image))
    };
    let at = 1_700_000_000_000u64..1_700_000_100_000;
    prop_oneof![
        12 => (0usize..50, any::<u8>(), any::<u8>(), any::<Option<u16>>(), at.clone()).prop_map(put),
        4 => (0usize..50, any::<Option<u8>>(), any::<Option<Option<u8>>>(), at).prop_map(|(number, bits, payload, at_ms)| {
            Write::Patch {
                id: id(number),
                labels: bits.map(labels),
                payload: payload.map(|payload| payload.map(self::payload)),
                at_ms,
            }
        }),
        4 => (0usize..50, any::<Option<u8>>(), any::<u8>(), any::<Option<u8>>()).prop_map(|(number, all, bits, patch)| {
            Write::Merge {
                id: id(number),
                labels: all.map(labels),
                add_labels: labels(bits),
                remove_labels: labels(bits >> 3),
                payload: patch.map(self::payload),
                at_ms: 1_700_000_000_000,
            }
        }),
        4 => (0usize..50).prop_map(|number| Write::Delete { id: id(number) }),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let generation = |model: u8| {
        // Every other model makes sketches.
        let sketch = model.is_multiple_of(2).then_some(SKETCH);
        let name = format!("{model:012x}");
        Generation::new(name, "fp32".to_owned(), &Length::ALL, sketch).unwrap()
    };
    prop_oneof![
        20 => write_of_an_image(),
        5 => conditional_write(),
        2 => Just(Write::OpenBlock),
        1 => prop::collection::vec(any::<u16>(), 1..5).prop_map(|names| Write::Forget(names.into_iter().map(original).collect())),
        1 => (0u8..3).prop_map(move |model| Write::Begin(generation(model))),
        3 => (1u32..5, prop::collection::vec((0usize..50, any::<u8>(), any::<Option<u16>>()), 1..60)).prop_map(|(number, images)| {
            let recoded = |(number, seed, name): (usize, u8, Option<u16>)| Recoded {
                id: id(number),
                original: name.map(original),
                codes: codes(seed),
                sketch: Some(sketch(SKETCH, seed)),
            };
            Write::Recode { number, images: images.into_iter().map(recoded).collect() }
        }),
        1 => (1u32..5).prop_map(Write::Activate),
        1 => Just(Write::Discard),
        2 => (0usize..3, 0usize..4).prop_map(|(path, kind)| Write::Declare { path: PATHS[path].parse().unwrap(), kind: KINDS[kind] }),
        3 => (1u32..9, 0u32..2, 0u32..3).prop_map(|(number, from, to)| Write::BuildField { number, pages: from..to }),
        1 => (1u32..9).prop_map(|number| Write::FieldBuilt { number }),
        1 => (0usize..3).prop_map(|path| Write::DeleteField { path: PATHS[path].parse().unwrap() }),
    ]
}

/// Compares a search with a plain list of the images that the store lists.
fn check(index: &Index, query: &Query) {
    let images = index
        .list(&ListQuery {
            limit: usize::MAX,
            ..ListQuery::default()
        })
        .unwrap()
        .records;
    // Without sketches in the active generation there is nothing to compare with.
    let sketched = images.iter().any(|image| image.sketch.is_some());
    let query = Query {
        sketch: query.sketch.clone().filter(|_| sketched),
        ..query.clone()
    };
    let asked = labels_in(&query);
    let has_label = |own: &[String]| own.iter().any(|label| asked.contains(label));
    let labelled = images
        .iter()
        .filter(|image| asked.is_empty() || has_label(&image.labels));
    let held = labelled.filter_map(|image| {
        let mut codes = image.codes.iter();
        let code = codes.find(|code| code.length() == query.code.length())?;
        let distance = code.distance(&query.code)?;
        let near = query.radius.is_none_or(|radius| distance <= radius);
        near.then(|| (distance, *code, image.id.clone(), image.sketch.as_ref()))
    });
    let found = index.search(&query).unwrap();
    assert_eq!(shown(&found), expected(held.collect(), &query), "{query:?}");
}

/// Applies writes in groups of given sizes, reopens the store after some groups, and searches after
/// each. Returns the outcome of each write, and the digest.
fn apply(
    writes: &[Write],
    groups: &[(usize, bool)],
    queries: &[Query],
) -> (Vec<String>, (Option<u64>, String)) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let mut index = open(folder.path());
    let (mut outcomes, mut rest, mut groups) = (Vec::new(), writes, groups.iter().cycle());
    let (mut revisions, mut queries) = (BTreeSet::new(), queries.iter().cycle());
    while !rest.is_empty() {
        let &(size, reopen) = groups.next().unwrap();
        let (group, others) = rest.split_at(size.min(rest.len()));
        runtime.block_on(async {
            let mut pending = Vec::new();
            for write in group {
                let position = (outcomes.len() + pending.len()) as u64 + 1;
                let id = Some(Uuid::from_u128(position.into()));
                let at = LogPosition { position, id };
                pending.push(index.apply(at, write.clone(), true).await.unwrap());
            }
            for done in pending {
                let done = done.await.unwrap();
                if let Ok(Outcome::Put(record, _) | Outcome::Patched(Some(record))) = &done {
                    let revision = record.revision.to_string();
                    assert!(revisions.insert(revision), "two states have one revision");
                }
                outcomes.push(match done {
                    Ok(done) => format!("{done:?}"),
                    Err(error) => error.to_string(),
                });
            }
        });
        rest = others;
        assert_eq!(index.position().unwrap(), Some(outcomes.len() as u64));
        if reopen {
            index.close().unwrap();
            drop(index);
            index = open(folder.path());
        }
        check(&index, queries.next().unwrap());
    }
    let digest = runtime.block_on(index.digest()).unwrap();
    (outcomes, digest)
}

proptest! {
    #![proptest_config(cases(24, 9))]

    #[test]
    fn stores_of_one_log_are_equal(
        writes in prop::collection::vec(write(), 1..250),
        groups in prop::collection::vec((1usize..40, prop::bool::weighted(0.2)), 1..20),
        queries in prop::collection::vec(query(), 1..20),
    ) {
        let one_by_one = apply(&writes, &[(1, false)], &queries);
        let in_groups = apply(&writes, &groups, &queries);
        prop_assert_eq!(&one_by_one.0, &in_groups.0);
        prop_assert_eq!(one_by_one.1, in_groups.1);
    }
}
