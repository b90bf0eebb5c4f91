//! The version of the layout on disk, and whether this program may read a store.
//! Each version is described by a file in `migrations/`; knows nothing of what lies under the keys.

use super::{error::IndexError, key::Key};

/// The version this program reads and writes.
pub const SCHEMA: u32 = 5;
/// The first version that is as this one but for what it may have besides.
const BEFORE: u32 = 3;

/// What is found in a folder.
pub enum Schema {
    /// Nothing.
    New,
    /// A store that is read as it is.
    Read(u32),
    /// One that has to be migrated.
    Old(u32),
}

/// Which schema a store has.
///
/// # Errors
/// As [`check`].
pub fn find(tree: &sled::Tree) -> Result<Schema, IndexError> {
    let corrupt = |why: &str| IndexError::Corrupt {
        what: "the schema version".to_owned(),
        why: why.to_owned(),
    };
    match tree.get(Key::Schema.to_bytes())? {
        None if tree.is_empty() => Ok(Schema::New),
        None => Err(corrupt("it is missing, though there is data")),
        Some(value) => match serde_json::from_slice(&value) {
            Ok(found @ BEFORE..=SCHEMA) => Ok(Schema::Read(found)),
            Ok(found @ 1..BEFORE) => Ok(Schema::Old(found)),
            Ok(found) => Err(IndexError::Schema {
                found,
                supported: SCHEMA,
            }),
            Err(_) => Err(corrupt("it is not a number")),
        },
    }
}

/// Whether a store is in use already; a new one is to be [stamped](stamp). One of a version that is read as it is is stamped here.
///
/// # Errors
/// [`IndexError::Schema`] for a version other than [`SCHEMA`], [`IndexError::Corrupt`] for none, [`IndexError::Store`].
pub fn check(tree: &sled::Tree) -> Result<bool, IndexError> {
    match find(tree)? {
        Schema::New => Ok(false),
        Schema::Read(SCHEMA) => Ok(true),
        Schema::Read(_) => {
            let mut batch = sled::Batch::default();
            stamp(&mut batch);
            tree.apply_batch(batch)?;
            tree.flush()?;
            Ok(true)
        }
        Schema::Old(found) => Err(IndexError::Schema {
            found,
            supported: SCHEMA,
        }),
    }
}

/// Marks the store as of this version when the batch is applied.
pub fn stamp(batch: &mut sled::Batch) {
    batch.insert(Key::Schema.to_bytes(), SCHEMA.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{super::key::prefix, *};

    /// The newest description is of the version written, under the prefixes written.
    #[test]
    fn the_description_agrees_with_the_keys() {
        let file = include_str!("../../../migrations/0005_sketches.json");
        let description: serde_json::Value = serde_json::from_str(file).unwrap();
        assert_eq!(description["version"], SCHEMA);
        let keys = description["keys"].as_object().unwrap();
        let described: Vec<&str> = keys.keys().map(String::as_str).collect();
        let written = [
            prefix::NAME,
            prefix::ROWS,
            prefix::CODES,
            prefix::LOOSE,
            prefix::META,
            prefix::NUMBER,
            prefix::SKETCHES,
            prefix::PAYLOAD,
        ]
        .map(char::from);
        assert_eq!(described.concat(), String::from_iter(written));
    }

    #[test]
    fn new_current_newer_and_foreign_stores_are_told_apart() {
        let store = sled::Config::new().temporary(true).open().unwrap();
        assert!(!check(&store).unwrap());
        let mut batch = sled::Batch::default();
        stamp(&mut batch);
        store.apply_batch(batch).unwrap();
        assert!(check(&store).unwrap());
        for earlier in ["3", "4"] {
            store.insert(Key::Schema.to_bytes(), earlier).unwrap();
            assert!(check(&store).unwrap());
            assert_eq!(store.get(Key::Schema.to_bytes()).unwrap().unwrap(), "5");
        }
        for (text, version) in [("2", 2), ("6", 6)] {
            store.insert(Key::Schema.to_bytes(), text).unwrap();
            let refused = check(&store);
            assert!(
                matches!(refused, Err(IndexError::Schema { found, supported: 5 }) if found == version)
            );
        }
        store.insert(Key::Schema.to_bytes(), "two").unwrap();
        assert!(matches!(check(&store), Err(IndexError::Corrupt { .. })));
        store.remove(Key::Schema.to_bytes()).unwrap();
        store.insert("foreign", "data").unwrap();
        assert!(matches!(check(&store), Err(IndexError::Corrupt { .. })));
    }
}
