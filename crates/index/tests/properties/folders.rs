//! Folders that cannot be opened or are damaged: in use, of another model, newer, damaged. Each
//! error names the problem, and nothing panics. Only these tests know keys and bytes on disk.

use std::{path::Path, thread, time::Duration};

use scihcgrl_index::{
    Filter, Index, IndexError, ListQuery, NewImage, Order, Precondition, Query, Requirement,
    SketchStorage, code::Length,
};
use tokio::runtime::Runtime;

use super::{
    SKETCH, codes as codes_of, id, image, open, open_as, open_in, open_with_sketches, sketch,
};

#[test]
fn a_second_open_fails_because_the_folder_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path()).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, IndexError::InUse { .. }));
    assert!(
        error
            .to_string()
            .contains("is already in use by another process"),
        "{error}"
    );
}

#[test]
fn another_model_or_other_lengths_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let error = open_as(folder.path(), "ba9876543210", &Length::ALL)
        .err()
        .unwrap();
    assert!(matches!(error, IndexError::Model { .. }));
    assert!(
        error.to_string().contains("0123456789ab") && error.to_string().contains("ba9876543210")
    );
    let error = open_as(folder.path(), "0123456789ab", &[Length::L32])
        .err()
        .unwrap();
    assert!(matches!(error, IndexError::Lengths { .. }), "{error}");
    open(folder.path()).unwrap();
}

#[test]
fn another_numeric_type_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let open = |precision| open_in(folder.path(), "0123456789ab", precision, &Length::ALL);
    let (exact, preferred) = (Requirement::Exact, Requirement::Preferred);
    drop(open(exact("bf16".to_owned())).unwrap());
    let kept = open(preferred("fp32".to_owned())).unwrap();
    assert_eq!(kept.precision(), "bf16");
    drop(kept);
    let error = open(exact("fp32".to_owned())).err().unwrap();
    assert!(error.to_string().contains("--precision bf16"), "{error}");
    drop(open(exact("bf16".to_owned())).unwrap());
}

/// Opens sled directly, once the index has released it.
fn tamper(path: &Path, change: impl FnOnce(&sled::Db)) {
    let config = sled::Config::new()
        .path(path)
        .segment_size(2 << 20)
        .flush_every_ms(None);
    let store = (0..50).find_map(|_| {
        config
            .open()
            .inspect_err(|_| thread::sleep(Duration::from_millis(20)))
            .ok()
    });
    let store = store.unwrap();
    change(&store);
    store.flush().unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    tamper(folder.path(), |store| {
        drop(store.insert("mschema", "8").unwrap());
    });
    let error = open(folder.path()).err().unwrap();
    assert!(
        matches!(
            error,
            IndexError::Schema {
                found: 8,
                supported: 7
            }
        ),
        "{error}"
    );
}

type Harm<'a> = &'a dyn Fn(&sled::Db);

/// Sixty-four images are in two pages of each kind. The damaged page is named, and the rest is
/// still found.
#[test]
fn damage_is_named_and_the_rest_is_read() {
    let rows = [&b"i"[..], &1u32.to_be_bytes()].concat();
    let codes = [&b"k"[..], &1u32.to_be_bytes(), &1u32.to_be_bytes()].concat();
    let payload = [&b"x"[..], &40u32.to_be_bytes()].concat();
    let flip = |store: &sled::Db, key: &[u8]| {
        let mut value = store.get(key).unwrap().unwrap().to_vec();
        value[9] ^= 1;
        store.insert(key, value).unwrap();
    };
    let remove = |store: &sled::Db, key: &[u8]| drop(store.remove(key).unwrap());
    let cases: [(&str, usize, Harm); 7] = [
        ("row page 1", 32, &|store| flip(store, &rows)),
        ("code page 1 of generation 1", 32, &|store| {
            flip(store, &codes);
        }),
        ("row page 1: it is missing", 32, &|store| {
            remove(store, &rows);
        }),
        ("code page 1 of generation 1: it is missing", 32, &|store| {
            remove(store, &codes);
        }),
        (
            "list of images: 64 were stored and 32 are found",
            32,
            &|store| {
                remove(store, &rows);
                remove(store, &codes);
            },
        ),
        (
            "payload of the image with sequence number 40",
            64,
            &|store| flip(store, &payload),
        ),
        ("summary of the store", 64, &|store| flip(store, b"mstate")),
    ];
    for (what, found, harm) in cases {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let index = open(folder.path()).unwrap();
        for number in 0..64 {
            runtime.block_on(index.put(image(number, 0, 8))).unwrap();
        }
        drop(index);
        tamper(folder.path(), harm);
        let index = open(folder.path()).unwrap();
        let damage: Vec<String> = index
            .verify()
            .unwrap()
            .iter()
            .map(std::string::ToString::to_string)
            .collect();
        assert!(
            damage.iter().any(|damage| damage.contains(what)),
            "{what}: {damage:?}"
        );
        assert!(found == 64 || !index.stats().damage.is_empty());
        let query = Query {
            code: codes_of(0)[2],
            sketch: None,
            radius: Some(48),
            order: Order::Distance,
            limit: 0,
            offset: 0,
            filter: None,
            generation: None,
        };
        assert_eq!(index.search(&query).unwrap().total, found as u64, "{what}");
        assert!(index.get(&id(0)).unwrap().is_some());
        // Lost images can be stored again, and new ones do not overwrite damaged pages.
        let again =
            [63, 64].map(|number| runtime.block_on(index.put(image(number, 0, 0))).unwrap());
        assert_eq!(
            again.map(|(_, created)| created),
            [found == 32, true],
            "{what}"
        );
        drop(index);
        assert!(open(folder.path()).unwrap().get(&id(64)).unwrap().is_some());
    }
}

#[test]
fn an_intact_store_has_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let index = open(folder.path()).unwrap();
    for number in 0..100 {
        runtime
            .block_on(index.put(image(number, number as u8, number as u8)))
            .unwrap();
    }
    for number in 0..20 {
        runtime
            .block_on(index.delete(id(number * 3), Precondition::default()))
            .unwrap();
    }
    assert_eq!(index.verify().unwrap(), []);
    drop(index);
    let index = open(folder.path()).unwrap();
    assert_eq!(
        (index.verify().unwrap(), index.stats().damage),
        (vec![], vec![])
    );
    let error = Index::open_existing(folder.path().join("none"), 1 << 20)
        .err()
        .unwrap();
    assert!(error.to_string().contains("holds no index"), "{error}");
}

/// The sketches of eight of sixty-four images are lost: their page is named, and a search puts
/// these images last.
#[test]
fn images_whose_sketches_are_damaged_are_ordered_by_distance() {
    let page = [&b"s"[..], &1u32.to_be_bytes(), &1u32.to_be_bytes()].concat();
    let harms: [(&str, Harm); 2] = [
        ("checksum", &|store| {
            let mut value = store.get(&page).unwrap().unwrap().to_vec();
            value[9] ^= 1;
            store.insert(&page, value).unwrap();
        }),
        ("missing", &|store| drop(store.remove(&page).unwrap())),
    ];
    for ((why, harm), kept) in harms
        .into_iter()
        .flat_map(|harm| [(harm, SketchStorage::Memory), (harm, SketchStorage::Disk)])
    {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let index = open_with_sketches(folder.path(), kept).unwrap();
        for number in 0..64 {
            let image = image(number, number as u8, 0);
            runtime.block_on(index.put(image)).unwrap();
        }
        drop(index);
        tamper(folder.path(), harm);
        let index = open_with_sketches(folder.path(), kept).unwrap();
        let named = |index: &Index| -> Vec<String> {
            let damage = index.stats().damage;
            assert_eq!(index.verify().unwrap(), damage);
            damage.iter().map(ToString::to_string).collect()
        };
        let [damage] = &named(&index)[..] else {
            panic!("{:?}", named(&index))
        };
        assert!(damage.contains("sketch page 1 of generation 1"), "{damage}");
        assert!(damage.contains(why), "{damage}");
        assert!(damage.contains("numbers 8 to 15"), "{damage}");
        let search = |index: &Index| {
            let query = Query {
                code: codes_of(0)[2],
                sketch: Some(sketch(SKETCH, 0)),
                radius: None,
                order: Order::Similarity {
                    candidates: None,
                    min_similarity: None,
                },
                limit: 64,
                offset: 0,
                filter: None,
                generation: None,
            };
            let found = index.search(&query).unwrap();
            assert_eq!(found.total, 64);
            let lost = found
                .matches
                .iter()
                .skip_while(|one| one.similarity.is_some());
            let lost: Vec<_> = lost
                .map(|one| (one.distance, one.record.id.clone()))
                .collect();
            assert!(lost.is_sorted_by_key(|(distance, _)| *distance));
            lost
        };
        let lost = search(&index);
        assert_eq!(lost.len(), 8);
        let known = |number: usize| lost.iter().any(|(_, other)| *other == id(number));
        assert!((8..16).all(known), "{lost:?}");
        // An image that is stored again has a sketch again.
        runtime.block_on(index.put(image(9, 9, 0))).unwrap();
        assert_eq!(search(&index).len(), 7);
        drop(index);
        let index = open_with_sketches(folder.path(), kept).unwrap();
        assert_eq!(search(&index).len(), 7);
        assert!(
            named(&index)
                .concat()
                .contains("lacks images that have codes")
        );
        for number in 8..16 {
            let image = image(number, number as u8, 0);
            runtime.block_on(index.put(image)).unwrap();
        }
        drop(index);
        let index = open_with_sketches(folder.path(), kept).unwrap();
        assert!(search(&index).is_empty());
        assert_eq!(named(&index), [] as [String; 0]);
    }
}

#[test]
fn a_label_without_images_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let index = open(folder.path()).unwrap();
    let names = |kept: usize| {
        tamper(folder.path(), |store| {
            let count = |prefix: &[u8]| store.scan_prefix(prefix).count();
            assert_eq!([count(b"a"), count(b"n")], [kept, kept]);
        });
    };
    let put = |number, labels: &[&str]| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let image = NewImage {
            labels,
            media_type: "image/png".to_owned(),
            ..image(number, 0, 0)
        };
        runtime.block_on(index.put(image)).unwrap()
    };
    // One label has the text of a media type.
    let media_type = put(1, &["kept"]).0.media_type;
    put(2, &["kept", "lost", &media_type]);
    for number in 0..300 {
        let labels = Some(vec![format!("label {number}"), "kept".to_owned()]);
        let patched = index.patch(id(1), labels, None, Precondition::default());
        runtime.block_on(patched).unwrap().unwrap();
    }
    runtime
        .block_on(index.delete(id(2), Precondition::default()))
        .unwrap();
    // A label that is used again works like any other.
    put(3, &["lost"]);
    let lost = Filter::any_label(vec!["lost".to_owned()]);
    assert_eq!(
        index
            .list(&ListQuery {
                filter: lost,
                limit: 9,
                ..ListQuery::default()
            })
            .unwrap()
            .total,
        1
    );
    assert_eq!(index.verify().unwrap(), []);
    let labels = index.labels(9).unwrap().into_iter().map(|one| one.label);
    let labels: Vec<String> = labels.collect();
    assert_eq!(labels, ["kept", "label 299", "lost"]);
    drop(index);
    names(4);
    let index = open(folder.path()).unwrap();
    assert_eq!(index.get(&id(3)).unwrap().unwrap().labels, ["lost"]);
    assert_eq!(index.verify().unwrap(), []);
}
