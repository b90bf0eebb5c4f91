//! The schema version of the store, and the migration from the previous one. `migrations/`
//! describes the layout.

use crate::{disk::key::Key, types::error::IndexError};

/// The schema version that this version reads and writes.
pub const SCHEMA: u32 = 7;
/// The previous schema version; such a store is migrated when it is opened.
const PREVIOUS: u32 = SCHEMA - 1;

/// Returns true if the store already has a schema version, after migrating it from the previous
/// one; false if the store is new and must be [stamped](stamp).
///
/// # Errors
/// [`IndexError::Schema`] for any other version, [`IndexError::Corrupt`] if the version is missing
/// or malformed, [`IndexError::Store`].
pub fn check(tree: &sled::Tree) -> Result<bool, IndexError> {
    let Some(value) = tree.get(Key::Schema.to_bytes())? else {
        return if tree.is_empty() {
            Ok(false)
        } else {
            Err(corrupt("it is missing, though there is data"))
        };
    };
    match serde_json::from_slice(&value) {
        Ok(SCHEMA) => {}
        Ok(PREVIOUS) => migrate(tree)?,
        Ok(found) => {
            return Err(IndexError::Schema {
                found,
                supported: SCHEMA,
            });
        }
        Err(_) => return Err(corrupt("it is not a number")),
    }
    Ok(true)
}

fn corrupt(why: &str) -> IndexError {
    IndexError::Corrupt {
        what: "the schema version".to_owned(),
        why: why.to_owned(),
    }
}

/// Migrates from the previous version, whose stores have no fields. Only the version differs.
fn migrate(tree: &sled::Tree) -> Result<(), IndexError> {
    let mut batch = sled::Batch::default();
    stamp(&mut batch);
    tree.apply_batch(batch)?;
    tree.flush()?;
    tracing::info!(
        from = PREVIOUS,
        to = SCHEMA,
        "migrated the store to this version's schema"
    );
    Ok(())
}

/// Adds this schema version to a batch.
pub fn stamp(batch: &mut sled::Batch) {
    batch.insert(Key::Schema.to_bytes(), SCHEMA.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::key::prefix;
    use serde_json::Value;

    /// The description has the version and the prefixes that are written.
    #[test]
    fn the_description_agrees_with_the_keys() {
        let file = include_str!("../../../../migrations/0007_fields.json");
        let description: Value = serde_json::from_str(file).unwrap();
        assert_eq!(description["version"], SCHEMA);
        let keys = description["keys"].as_object().unwrap();
        let described: Vec<&str> = keys.keys().map(String::as_str).collect();
        let written = [
            prefix::NAME,
            prefix::ROWS,
            prefix::CODES,
            prefix::UNREFERENCED,
            prefix::META,
            prefix::NUMBER,
            prefix::SKETCHES,
            prefix::VALUES,
            prefix::PAYLOAD,
        ]
        .map(char::from);
        assert_eq!(described.concat(), String::from_iter(written));
    }

    #[test]
    fn new_current_previous_and_foreign_stores_are_distinguished() {
        let store = sled::Config::new().temporary(true).open().unwrap();
        assert!(!check(&store).unwrap());
        let mut batch = sled::Batch::default();
        stamp(&mut batch);
        store.apply_batch(batch).unwrap();
        assert!(check(&store).unwrap());
        store.insert(Key::Schema.to_bytes(), "6").unwrap();
        store.insert(Key::Rows(0).to_bytes(), "a page").unwrap();
        assert!(check(&store).unwrap());
        assert_eq!(store.get(Key::Schema.to_bytes()).unwrap().unwrap(), "7");
        assert_eq!((store.len(), check(&store).unwrap()), (2, true));
        for (text, version) in [("5", 5), ("8", 8)] {
            store.insert(Key::Schema.to_bytes(), text).unwrap();
            let refused = check(&store);
            assert!(
                matches!(refused, Err(IndexError::Schema { found, supported: 7 }) if found == version)
            );
        }
        store.insert(Key::Schema.to_bytes(), "two").unwrap();
        assert!(matches!(check(&store), Err(IndexError::Corrupt { .. })));
        store.remove(Key::Schema.to_bytes()).unwrap();
        store.insert("foreign", "data").unwrap();
        assert!(matches!(check(&store), Err(IndexError::Corrupt { .. })));
    }
}
