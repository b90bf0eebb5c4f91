//! The version of the layout on disk, and whether this program may read a store.
//! `migrations/` describes the layout.

use serde_json::Value;

use crate::{disk::key::Key, types::error::IndexError};

/// The version that this program reads and writes.
pub const SCHEMA: u32 = 6;
/// The version before, which is brought to this one when a store is opened.
const PREVIOUS: u32 = SCHEMA - 1;

/// Returns whether a store is in use already; a new one is to be [stamped](stamp). Brings a store of the
/// previous version to this one.
///
/// # Errors
/// [`IndexError::Schema`] for any other version, [`IndexError::Corrupt`] if there is none, [`IndexError::Store`].
pub fn check(tree: &sled::Tree) -> Result<bool, IndexError> {
    let Some(value) = tree.get(Key::Schema.to_bytes())? else {
        return match tree.is_empty() {
            true => Ok(false),
            false => Err(corrupt("it is missing, though there is data")),
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

/// Version 5 called the standby generation `beside`. One batch renames it and stamps the store, so a kill
/// leaves one version or the other.
fn migrate(tree: &sled::Tree) -> Result<(), IndexError> {
    let key = Key::Generation.to_bytes();
    let mut batch = sled::Batch::default();
    // If the generations cannot be read, opening the store says so.
    if let Some(value) = tree.get(&key)?
        && let Ok(Value::Object(mut generations)) = serde_json::from_slice(&value)
        && let Some(standby) = generations.remove("beside")
    {
        generations.insert("standby".to_owned(), standby);
        batch.insert(key, Value::Object(generations).to_string().as_bytes());
    }
    stamp(&mut batch);
    tree.apply_batch(batch)?;
    tree.flush()?;
    tracing::info!(
        from = PREVIOUS,
        to = SCHEMA,
        "brought the store to this program's schema"
    );
    Ok(())
}

/// Marks the store as of this version when the batch is applied.
pub fn stamp(batch: &mut sled::Batch) {
    batch.insert(Key::Schema.to_bytes(), SCHEMA.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::key::prefix;

    /// The description is of the version written, under the prefixes written.
    #[test]
    fn the_description_agrees_with_the_keys() {
        let file = include_str!("../../../../migrations/0006_standby.json");
        let description: Value = serde_json::from_str(file).unwrap();
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
    fn new_current_previous_and_foreign_stores_are_told_apart() {
        let store = sled::Config::new().temporary(true).open().unwrap();
        assert!(!check(&store).unwrap());
        let mut batch = sled::Batch::default();
        stamp(&mut batch);
        store.apply_batch(batch).unwrap();
        assert!(check(&store).unwrap());
        store.insert(Key::Schema.to_bytes(), "5").unwrap();
        let generation = r#"{"number":1,"beside":{"number":2},"last":2}"#;
        store
            .insert(Key::Generation.to_bytes(), generation)
            .unwrap();
        assert!(check(&store).unwrap());
        assert_eq!(store.get(Key::Schema.to_bytes()).unwrap().unwrap(), "6");
        let generation = store.get(Key::Generation.to_bytes()).unwrap().unwrap();
        let generation: Value = serde_json::from_slice(&generation).unwrap();
        let expected = serde_json::json!({ "number": 1, "standby": { "number": 2 }, "last": 2 });
        assert_eq!(generation, expected);
        for (text, version) in [("4", 4), ("7", 7)] {
            store.insert(Key::Schema.to_bytes(), text).unwrap();
            let refused = check(&store);
            assert!(
                matches!(refused, Err(IndexError::Schema { found, supported: 6 }) if found == version)
            );
        }
        store.insert(Key::Schema.to_bytes(), "two").unwrap();
        assert!(matches!(check(&store), Err(IndexError::Corrupt { .. })));
        store.remove(Key::Schema.to_bytes()).unwrap();
        store.insert("foreign", "data").unwrap();
        assert!(matches!(check(&store), Err(IndexError::Corrupt { .. })));
    }
}
