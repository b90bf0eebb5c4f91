//! Compares the values in the directories and on disk with those of the payloads, whatever is
//! written, declared, built and deleted.

#![allow(clippy::cast_possible_truncation, reason = "small or arbitrary values")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use proptest::{prelude::*, test_runner::RngSeed};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    api::Index,
    code::{HashCode, Length},
    disk::{key::prefix, names, page::SLOTS},
    types::{
        config::{IndexConfig, Requirement},
        error::IndexError,
        field::{Field, FieldType, FieldValue, word},
        filter::Filter,
        generation::Generation,
        id::ImageId,
        query::ListQuery,
        record::{Codes, NewImage, Times},
        revision::Precondition,
        write::{Outcome, Recoded, Write},
    },
};

const PATHS: [&str; 3] = ["a", "b.c", "tags"];
const KINDS: [FieldType; 5] = [
    FieldType::Keyword,
    FieldType::Integer,
    FieldType::Number,
    FieldType::Bool,
    FieldType::Time,
];

fn open(path: &Path) -> Index {
    let open = || {
        Index::open(IndexConfig {
            path: path.to_owned(),
            model: Requirement::Preferred("a model".to_owned()),
            precision: Requirement::Preferred("fp32".to_owned()),
            lengths: vec![Length::L24],
            sketch: None,
            sketch_storage: None,
            gallery: None,
            cache_bytes: 16 << 20,
        })
    };
    // The threads of an index that was just dropped may still end.
    for _ in 0..100 {
        match open() {
            Err(IndexError::InUse { .. }) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the folder remains in use");
}

fn id(number: usize) -> ImageId {
    format!("image-{number}").parse().unwrap()
}

fn labels(bits: u8) -> Vec<String> {
    let bits = (0..3).filter(|bit| bits >> bit & 1 == 1);
    bits.map(|bit| format!("word {bit}")).collect()
}

/// Some keywords have the text of a label.
fn payload(bits: u8) -> Value {
    let word = format!("word {}", bits >> 5);
    match bits % 8 {
        0 => json!({ "a": format!("only {bits}"), "b": { "c": word } }),
        1 => json!({ "a": null, "b": [{ "c": -1.5 }, { "c": [] }] }),
        2 => json!({ "a": [word, "another", bits > 90], "tags": [] }),
        3 => json!({ "tags": ["b", "a", word], "b": null }),
        4 => json!({ "tags": "2020-01-01T00:00:00Z", "a": { "b": word } }),
        5 => json!({}),
        6 => json!({ "a": true, "tags": "x".repeat(513), "b": { "c": false } }),
        _ => json!(bits),
    }
}

fn image(number: usize, labels: Vec<String>, payload: Option<Value>) -> NewImage {
    NewImage {
        id: id(number),
        codes: (1..20)
            .map(|generation| Codes {
                generation,
                codes: vec![HashCode::from_word(Length::L24, number as u64)],
                sketch: None,
            })
            .collect(),
        labels,
        payload,
        media_type: "image/jpeg".to_owned(),
        bytes: 0,
        original: None,
        times: Some(Times {
            created_at_ms: 1,
            updated_at_ms: 1,
        }),
    }
}

/// The words of a payload; those of keywords as they are numbered in the store.
fn words(index: &Index, field: &Field, payload: Option<&Value>) -> BTreeSet<u64> {
    let db = index.0.store.db().unwrap();
    let values = field.values(payload).into_iter();
    let words = values.map(|value| match value {
        FieldValue::Null => word::NULL,
        FieldValue::NotHeld => word::NOT_HELD,
        FieldValue::Empty => word::EMPTY,
        FieldValue::Word(word) => word,
        FieldValue::Keyword(text) => {
            // A keyword that is not built yet may have no number.
            names::number(&db, &text)
                .unwrap()
                .map_or(u64::MAX, word::of_keyword)
        }
    });
    words.collect()
}

/// The names that no image has.
fn unused_names(index: &Index) -> Vec<String> {
    let db = index.0.store.db().unwrap();
    let view = index.0.store.view();
    let unused = db.scan_prefix([prefix::NAME]).filter_map(|entry| {
        let (key, number) = entry.unwrap();
        let number = u32::from_be_bytes(number.as_ref().try_into().unwrap());
        let name = String::from_utf8(key[1..].to_vec()).unwrap();
        let is_used = view.active.directory.count_named(number) > 0;
        (!is_used && name != "image/jpeg").then_some(name)
    });
    unused.collect()
}

/// Compares the directories of both generations with the payloads.
fn check(index: &Index) {
    let records = index
        .list(&ListQuery {
            limit: usize::MAX,
            ..ListQuery::default()
        })
        .unwrap()
        .records;
    let view = index.0.store.view();
    for side in view.sides() {
        let directory = &side.directory;
        assert_eq!(
            directory.fields(),
            view.active.directory.fields(),
            "both sides have the same fields"
        );
        for field in directory.fields().iter() {
            let mut expected: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
            for record in &records {
                for word in words(index, field, record.payload.as_ref()) {
                    let images = expected.entry(word).or_default();
                    images.push(record.revision.sequence);
                }
            }
            let mut count = 0;
            for (word, images) in expected {
                let found = directory.with_values(field.number, &[word..=word]);
                let found: Vec<u32> = found.iter_from(0).collect();
                count += found.len();
                if field.built {
                    assert_eq!(found, images, "{field:?}, word {word}");
                } else {
                    assert!(found.iter().all(|image| images.contains(image)));
                }
            }
            let all = directory.count_values(field.number, &(0..=u64::MAX));
            assert_eq!(all, count, "{field:?} has words of no image");
        }
        for (number, images) in directory.labels() {
            assert!(directory.count_named(number) as u64 >= images);
        }
    }
    assert_eq!(index.verify().unwrap(), []);
}

/// Does some writes in one group, unless one of them ends it.
fn write_all(runtime: &Runtime, index: &Index, writes: Vec<Write>) {
    runtime.block_on(async {
        let mut pending = Vec::new();
        for write in writes {
            let write = move |group: &mut crate::write::group::Group<'_>| group.write(write);
            pending.push(index.0.writer.accept(write).await.unwrap());
        }
        for done in pending {
            match done.await.unwrap() {
                Err(error) => assert!(error.is_refusal(), "{error}"),
                Ok(done) => drop(done),
            }
        }
    });
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Write>),
    /// Builds all fields.
    Build,
    Reopen,
    /// Damages a values page, and may reopen the store.
    Damage(usize, u32, bool),
    /// Fills the standby generation and activates it.
    Activate,
    Purge,
}

fn write() -> impl Strategy<Value = Write> {
    let path = || (0usize..3).prop_map(|path| PATHS[path].parse().unwrap());
    let at_ms = 5;
    prop_oneof![
        12 => (0usize..70, any::<u8>(), any::<Option<u8>>()).prop_map(|(number, bits, payload)| {
            Write::Put(Box::new(image(number, labels(bits), payload.map(self::payload))))
        }),
        4 => (0usize..70, any::<Option<u8>>(), any::<Option<Option<u8>>>()).prop_map(move |(number, bits, payload)| Write::Patch {
            id: id(number),
            labels: bits.map(labels),
            payload: payload.map(|payload| payload.map(self::payload)),
            at_ms,
        }),
        4 => (0usize..70, any::<Option<u8>>(), any::<u8>(), any::<Option<u8>>()).prop_map(move |(number, all, bits, patch)| Write::Merge {
            id: id(number),
            labels: all.map(labels),
            add_labels: labels(bits),
            remove_labels: labels(bits >> 3),
            payload: patch.map(self::payload),
            at_ms,
        }),
        4 => (0usize..70).prop_map(|number| Write::Delete { id: id(number) }),
        2 => (path(), 0usize..5).prop_map(|(path, kind)| Write::Declare { path, kind: KINDS[kind] }),
        2 => (1u32..6, 0u32..3, 0u32..4).prop_map(|(number, from, to)| Write::BuildField { number, pages: from..to }),
        1 => prop::option::weighted(0.3, path()).prop_map(|path| {
            path.map_or(Write::Discard, |path| Write::DeleteField { path })
        }),
        1 => any::<bool>().prop_map(|other| {
            let name = format!("model {other}");
            Write::Begin(Generation::new(name, "fp32".to_owned(), &[Length::L24], None).unwrap())
        }),
        1 => Just(Write::Discard),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(write(), 1..40).prop_map(Step::Write),
        3 => Just(Step::Build),
        2 => Just(Step::Reopen),
        2 => (0usize..3, 0u32..3, any::<bool>()).prop_map(|(field, page, reopens)| Step::Damage(field, page, reopens)),
        1 => Just(Step::Activate),
        1 => Just(Step::Purge),
    ]
}

fn play(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let mut index = open(folder.path());
    let mut deletes_fields = false;
    for step in steps {
        match step {
            Step::Write(writes) => {
                let deletes = |write: &Write| matches!(write, Write::DeleteField { .. });
                deletes_fields |= writes.iter().any(deletes);
                write_all(&runtime, &index, writes);
            }
            Step::Build => {
                for status in index.fields() {
                    let number = status.field.number;
                    let pages = 0..index.pages().unwrap();
                    runtime.block_on(index.build_field(number, pages)).unwrap();
                    runtime.block_on(index.finish_field(number)).unwrap();
                }
            }
            Step::Reopen => {
                drop(index);
                index = open(folder.path());
                assert_eq!(index.stats().damage, []);
            }
            Step::Damage(field, page, reopens) => {
                let fields = index.fields();
                let Some(status) = fields.get(field) else {
                    continue;
                };
                if !damage(&index, &status.field, page) {
                    continue;
                }
                if reopens {
                    drop(index);
                    index = open(folder.path());
                    let [damage] = &index.stats().damage[..] else {
                        panic!("{:?}", index.stats().damage)
                    };
                    let path = status.field.path.to_string();
                    assert!(damage.what.contains(&path), "{damage}");
                    assert!(damage.why.contains("deleted and declared again"));
                }
                let records = index
                    .list(&ListQuery {
                        limit: usize::MAX,
                        ..ListQuery::default()
                    })
                    .unwrap()
                    .records;
                let on_page = |sequence: u32| sequence / SLOTS == page;
                let one = records
                    .iter()
                    .find(|one| on_page(one.revision.sequence))
                    .unwrap();
                let patch = index.patch(one.id.clone(), None, None, Precondition::default());
                runtime.block_on(patch).unwrap();
            }
            Step::Activate => {
                let Some(standby) = index.generations().standby else {
                    continue;
                };
                let missing = index.missing(standby.number, 0..u32::MAX, usize::MAX);
                let recoded = missing.unwrap().0.into_iter().map(|missing| Recoded {
                    id: missing.id,
                    original: missing.original,
                    codes: vec![HashCode::from_word(Length::L24, 3)],
                    sketch: None,
                });
                let recode = index.recode(standby.number, recoded.collect());
                runtime.block_on(recode).unwrap();
                runtime.block_on(index.activate(standby.number)).unwrap();
            }
            Step::Purge => runtime.block_on(index.purge()).unwrap(),
        }
        check(&index);
        // The keywords of deleted fields may stay.
        if !deletes_fields {
            assert_eq!(unused_names(&index), [] as [String; 0]);
        }
    }
    drop(index);
    let index = open(folder.path());
    assert_eq!(index.stats().damage, []);
    check(&index);
}

/// Changes a byte of a values page. Returns false if there is no such page.
fn damage(index: &Index, field: &Field, page: u32) -> bool {
    let db = index.0.store.db().unwrap();
    let Some(value) = db.get(field.values_key(page)).unwrap() else {
        return false;
    };
    let mut value = value.to_vec();
    value[4] ^= 1;
    db.insert(field.values_key(page), value).unwrap();
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn the_directories_have_the_values_of_the_payloads(steps in prop::collection::vec(step(), 1..25)) {
        play(steps);
    }
}

#[test]
fn a_field_is_declared_once_and_deleted_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let index = open(folder.path());
    let declare = |path: &str, kind| runtime.block_on(index.declare(path.parse().unwrap(), kind));
    let first = declare("a", FieldType::Keyword).unwrap();
    assert_eq!((first.number, first.built), (1, true));
    assert_eq!(declare("a", FieldType::Keyword).unwrap(), first);
    let error = declare("a", FieldType::Bool).unwrap_err();
    assert!(error.is_refusal());
    let expected = "the field a is declared with the type keyword, not bool; delete it first";
    assert!(error.to_string().contains(expected), "{error}");
    let delete = |path: &str| runtime.block_on(index.delete_field(path.parse().unwrap()));
    assert!(delete("a").unwrap());
    assert!(!delete("a").unwrap());
    runtime
        .block_on(index.put(image(0, vec![], Some(json!({ "a": true })))))
        .unwrap();
    let again = declare("a", FieldType::Bool).unwrap();
    assert_eq!((again.number, again.built), (2, false));
    for path in ["labels", "id", "created_at_ms", "updated_at_ms"] {
        let error = declare(path, FieldType::Keyword).unwrap_err();
        assert!(matches!(error, IndexError::ReservedField { .. }), "{error}");
    }
    declare("labels.a", FieldType::Keyword).unwrap();
    for number in 2..32 {
        declare(&format!("f{number}"), FieldType::Keyword).unwrap();
    }
    let error = declare("f32", FieldType::Keyword).unwrap_err();
    assert!(matches!(error, IndexError::ManyFields { most: 32 }));
    assert!(error.is_refusal());
    for number in [1, 99] {
        let built = runtime.block_on(index.build_field(number, 0..1));
        assert!(matches!(built, Err(IndexError::NoSuchField { .. })));
        let finished = runtime.block_on(index.finish_field(number));
        assert!(matches!(finished, Err(IndexError::NoSuchField { .. })));
    }
}

#[test]
fn the_status_of_a_field_counts_its_values() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let index = open(folder.path());
    runtime
        .block_on(index.declare("a".parse().unwrap(), FieldType::Integer))
        .unwrap();
    for (number, value) in [json!(1), json!([1, 2]), json!("x"), json!(null), json!([])]
        .into_iter()
        .enumerate()
    {
        let image = image(number, vec![], Some(json!({ "a": value })));
        runtime.block_on(index.put(image)).unwrap();
    }
    let [status] = &index.fields()[..] else {
        panic!()
    };
    let counts = (status.values, status.not_held, status.null, status.empty);
    assert_eq!(counts, (3, 1, 1, 1));
    let json = serde_json::to_value(status).unwrap();
    assert_eq!(
        (&json["path"], &json["type"]),
        (&json!("a"), &json!("integer"))
    );
}

#[test]
fn a_name_is_kept_while_an_image_has_it_as_a_label_or_a_keyword() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let index = open(folder.path());
    for path in ["a", "b"] {
        let declare = index.declare(path.parse().unwrap(), FieldType::Keyword);
        runtime.block_on(declare).unwrap();
    }
    let number = || names::number(&index.0.store.db().unwrap(), "x").unwrap();
    let put = |number, labels: &[&str], payload| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Write::Put(Box::new(image(number, labels, Some(payload))))
    };
    let write = |writes| write_all(&runtime, &index, writes);
    write(vec![put(0, &["x"], json!({ "a": ["x", "y"], "b": "x" }))]);
    let first = number().unwrap();
    write(vec![put(0, &[], json!({ "a": "x", "b": "x" }))]);
    assert_eq!(number(), Some(first));
    write(vec![put(0, &[], json!({ "b": "x" }))]);
    assert_eq!(number(), Some(first));
    // The label takes over from the keyword in one write.
    write(vec![put(0, &["x"], json!({}))]);
    assert_eq!(number(), Some(first));
    // Within a group the keyword takes over from the label, and back.
    write(vec![
        put(1, &[], json!({ "a": "x" })),
        put(0, &[], json!({})),
    ]);
    assert_eq!(number(), Some(first));
    write(vec![put(0, &["x"], json!({})), Write::Delete { id: id(1) }]);
    assert_eq!(number(), Some(first));
    // Within a group the name is used again and lost.
    write(vec![
        put(1, &[], json!({ "a": "x" })),
        put(0, &[], json!({})),
        Write::Delete { id: id(1) },
    ]);
    assert_eq!(number(), None);
    write(vec![put(1, &[], json!({ "a": "x" }))]);
    assert!(number().unwrap() > first);
    check(&index);
}

#[test]
fn a_build_that_stops_is_continued_and_ends_in_the_same_state() {
    let digests = [false, true].map(|is_interrupted| {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let mut index = open(folder.path());
        let puts = (0..100).map(|number| {
            let payload = payload(number as u8);
            Write::Put(Box::new(image(number, labels(number as u8), Some(payload))))
        });
        write_all(&runtime, &index, puts.collect());
        let declare = index.declare("a".parse().unwrap(), FieldType::Keyword);
        let field = runtime.block_on(declare).unwrap();
        if is_interrupted {
            runtime
                .block_on(index.build_field(field.number, 0..2))
                .unwrap();
            drop(index);
            index = open(folder.path());
            assert!(!index.fields()[0].field.built);
        }
        runtime
            .block_on(index.build_field(field.number, 0..4))
            .unwrap();
        runtime.block_on(index.finish_field(field.number)).unwrap();
        check(&index);
        let db = index.0.store.db().unwrap();
        // The ids of the stores differ.
        let entries = db.iter().map(Result::unwrap);
        let entries = entries.filter(|(key, _)| *key != b"mid" && *key != b"mstate");
        entries
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect::<Vec<_>>()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_merge_changes_single_labels_and_members() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let index = open(folder.path());
    let names = |labels: &[&str]| -> Vec<String> {
        labels.iter().map(|label| (*label).to_owned()).collect()
    };
    let put = image(0, names(&["a", "b"]), None);
    runtime.block_on(index.put(put)).unwrap();
    let merge = |labels: Option<&[&str]>, add: &[&str], remove: &[&str], patch| {
        let labels = labels.map(names);
        let merge = index.merge(
            id(0),
            labels,
            names(add),
            names(remove),
            patch,
            Precondition::default(),
        );
        let record = runtime.block_on(merge).unwrap().unwrap();
        assert_eq!(index.get(&id(0)).unwrap().as_ref(), Some(&record));
        (record.labels, record.payload)
    };
    let patch = Some(json!({ "a": null }));
    assert_eq!(
        merge(None, &[], &[], patch.clone()),
        (names(&["a", "b"]), None)
    );
    let added = merge(
        None,
        &["c", "b"],
        &["a", "z"],
        Some(json!({ "a": 1, "b": 2 })),
    );
    assert_eq!(added, (names(&["b", "c"]), Some(json!({ "a": 1, "b": 2 }))));
    let removed = merge(Some(&["d", "e"]), &["f"], &["d"], patch);
    assert_eq!(removed, (names(&["e", "f"]), Some(json!({ "b": 2 }))));
    let emptied = merge(None, &[], &[], Some(json!({ "b": null })));
    assert_eq!(emptied.1, Some(json!({})));
    assert_eq!(merge(None, &[], &[], Some(Value::Null)).1, None);
    let absent = index.merge(id(9), None, vec![], vec![], None, Precondition::default());
    assert!(runtime.block_on(absent).unwrap().is_none());
}

#[test]
fn a_write_with_a_filter_needs_an_image_that_passes_it() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let index = open(folder.path());
    let put = image(0, vec!["x".to_owned()], Some(json!({ "a": 1 })));
    runtime.block_on(index.put(put)).unwrap();
    let passes = |label: &str| Precondition {
        passes: Filter::any_label(vec![label.to_owned()]).map(|filter| filter.to_string()),
        ..Precondition::default()
    };
    let error = runtime
        .block_on(index.delete(id(0), passes("y")))
        .unwrap_err();
    assert!(error.is_refusal());
    assert!(
        error
            .to_string()
            .contains("image 'image-0' does not pass the filter"),
        "{error}"
    );
    assert!(matches!(
        error,
        IndexError::PreconditionFailed {
            present: Some(_),
            ..
        }
    ));
    assert!(index.check_precondition(&id(0), &passes("y")).is_err());
    index.check_precondition(&id(0), &passes("x")).unwrap();
    let error = runtime
        .block_on(index.delete(id(1), passes("x")))
        .unwrap_err();
    assert!(
        error.to_string().contains("there is no image 'image-1'"),
        "{error}"
    );
    // The filter is tested when the write is applied, after those before it in its group.
    let conditional = |label: &str, write| Write::If {
        id: id(0),
        expected: passes(label),
        write: Box::new(write),
    };
    let relabel = |label: &str| Write::Patch {
        id: id(0),
        labels: Some(vec![label.to_owned()]),
        payload: None,
        at_ms: 9,
    };
    write_all(
        &runtime,
        &index,
        vec![
            conditional("x", relabel("y")),
            conditional("x", Write::Delete { id: id(0) }),
            conditional("y", relabel("z")),
        ],
    );
    assert_eq!(index.get(&id(0)).unwrap().unwrap().labels, ["z"]);
    assert!(runtime.block_on(index.delete(id(0), passes("z"))).unwrap());
}

#[test]
fn a_deleted_field_leaves_no_pages() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let index = open(folder.path());
    let declare = |kind| runtime.block_on(index.declare("a".parse().unwrap(), kind));
    declare(FieldType::Keyword).unwrap();
    let puts = (0..2000).map(|number| {
        Write::Put(Box::new(image(
            number,
            vec![],
            Some(json!({ "a": number })),
        )))
    });
    write_all(&runtime, &index, puts.collect());
    let pages = || index.0.store.db().unwrap().scan_prefix(b"v").count();
    assert_eq!(pages(), 63);
    let digest = || runtime.block_on(index.digest()).unwrap().1;
    let delete = Write::DeleteField {
        path: "a".parse().unwrap(),
    };
    assert!(matches!(
        runtime.block_on(index.write(delete)),
        Ok(Outcome::Deleted(true))
    ));
    let before = digest();
    assert_eq!(pages(), 63, "the pages are removed later");
    let again = declare(FieldType::Integer).unwrap();
    let values = index.fields()[0].values;
    assert_eq!((again.number, values), (2, 0));
    runtime.block_on(index.purge()).unwrap();
    assert_eq!(pages(), 0);
    let path = "a".parse().unwrap();
    assert!(runtime.block_on(index.delete_field(path)).unwrap());
    let after = digest();
    assert_ne!(before, after, "the last number differs");
    check(&index);
}
