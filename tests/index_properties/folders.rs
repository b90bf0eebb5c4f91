//! Folders that are not right: in use, of another model, newer, damaged. Each is refused by name, never by a panic.
//! The one test that knows keys and bytes of the disk.

use std::{path::Path, thread, time::Duration};

use scihcgrl::{code::Length, index::IndexError};
use tokio::runtime::Runtime;

use super::{image, open, open_as};

#[test]
fn a_second_open_is_told_that_the_folder_is_in_use() {
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

/// Opens the store as sled sees it, once the index has let go of it.
fn tamper(path: &Path, change: impl FnOnce(&sled::Db)) {
    let config = sled::Config::new().path(path).flush_every_ms(None);
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
        drop(store.insert("mschema", "2").unwrap())
    });
    let error = open(folder.path()).err().unwrap();
    assert!(
        matches!(
            error,
            IndexError::Schema {
                found: 2,
                supported: 1
            }
        ),
        "{error}"
    );
}

type Damage<'a> = &'a dyn Fn(&sled::Db);

#[test]
fn damage_is_named_and_never_a_panic() {
    let page = [&b"p"[..], &1u32.to_be_bytes(), &0u64.to_be_bytes()].concat();
    let cases: [(&str, Damage); 4] = [
        ("code page 0 of generation 1", &|store| {
            let mut value = store.get(&page).unwrap().unwrap().to_vec();
            value[9] ^= 1;
            store.insert(&page, value).unwrap();
        }),
        ("list of images", &|store| {
            drop(store.remove(&page).unwrap())
        }),
        ("list of images", &|store| {
            drop(store.remove("rimage-1").unwrap())
        }),
        ("record of image image-1", &|store| {
            drop(store.insert("rimage-1", "{}").unwrap())
        }),
    ];
    for (what, change) in cases {
        let folder = tempfile::tempdir().unwrap();
        let index = open(folder.path()).unwrap();
        Runtime::new()
            .unwrap()
            .block_on(index.put(image(1, 1, 1)))
            .unwrap();
        drop(index);
        tamper(folder.path(), change);
        let error = open(folder.path()).err().unwrap();
        assert!(
            matches!(error, IndexError::Corrupt { .. }) && error.to_string().contains(what),
            "{error}"
        );
    }
}
