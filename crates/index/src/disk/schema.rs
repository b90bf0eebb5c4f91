//! The schema version of the store, and the migration from the previous one. `migrations/`
//! describes the layout.

use serde_json::Value;

use crate::{disk::key::Key, types::error::IndexError};

/// The schema version that this version reads and writes.
pub const SCHEMA: u32 = 6;
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

/// Migrates from version 5, which called the standby generation `beside`. One batch renames it and
/// stamps the store, so a kill leaves one version or the other.
fn migrate(tree: &sled::Tree) -> Result<(), IndexError> {
    let key = Key::Generation.to_bytes();
    let mut batch = sled::Batch::default();
    // If the generations cannot be read, opening the store reports it.
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

    /// The description has the version and the prefixes that are written.
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
            prefix::UNREFERENCED,
            prefix::META,
            prefix::NUMBER,
            prefix::SKETCHES,
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
