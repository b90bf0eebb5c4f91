//! Checks a whole store: every page, payload and name, and that no original key is both used and
//! unreferenced. Names the damage and changes nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::{
    disk::{
        generations::Generations,
        key::{self, Key},
        names, originals, page,
        row::Row,
    },
    open::load,
    types::{
        config::SketchStorage,
        error::{Damage, IndexError},
        id::OriginalKey,
    },
    view::store::Store,
};

/// Returns all damage. A concurrent write would be reported as damage.
pub fn verify(store: &Store) -> Result<Vec<Damage>, IndexError> {
    let db = store.db()?;
    let generations = Generations::read(&db)?;
    let loaded = load::load(&db, &generations, Some(SketchStorage::Disk), |id| {
        store.hash(id)
    })?;
    let mut damage = loaded.damage;
    damage.extend(store.lost_commits.clone());
    let mut damaged = |what: String, why: &str| {
        damage.push(Damage {
            what,
            why: why.to_owned(),
        });
    };
    let (mut payloads, mut originals) = (BTreeSet::new(), HashSet::new());
    let mut numbers = HashSet::new();
    for entry in db.iter() {
        let (key, value) = entry?;
        match Key::from_bytes(&key) {
            Some(Key::Rows(number)) => {
                for (slot, row) in page::decode::<Row>(&value).unwrap_or_default() {
                    let sequence = number * page::SLOTS + u32::from(slot);
                    if row.payload {
                        payloads.insert(sequence);
                    }
                    if let Some(name) = row.original
                        && !originals.insert(name)
                    {
                        damaged(format!("the original {name}"), "two images have it");
                    }
                    numbers.extend(row.labels);
                    numbers.insert(row.media_type);
                }
            }
            None => damaged(
                format!("an entry under {:?}", String::from_utf8_lossy(&key)),
                "its key is malformed",
            ),
            _ => {}
        }
    }
    for sequence in &payloads {
        if let Err(IndexError::Corrupt { what, why }) = Store::payload(&db, *sequence) {
            damaged(what, &why);
        }
    }
    match originals::unreferenced(&db) {
        Ok(unreferenced) => unreferenced
            .iter()
            .filter(|name| originals.contains(*name))
            .for_each(|name| {
                damaged(
                    format!("the original {name}"),
                    "an image has it, but its key is marked unreferenced",
                );
            }),
        Err(IndexError::Corrupt { what, why }) => damaged(what, &why),
        Err(other) => return Err(other),
    }
    for number in numbers {
        if let Err(IndexError::Corrupt { what, why }) = names::name(&db, number) {
            damaged(what, &why);
        }
    }
    Ok(damage)
}

/// Returns the original keys of all images, with the sizes of the originals. Damaged pages are
/// skipped.
pub fn originals(store: &Store) -> Result<HashMap<OriginalKey, u64>, IndexError> {
    let mut originals = HashMap::new();
    for entry in store.db()?.range(key::rows(0..u32::MAX)) {
        let rows = page::decode_slots::<Row>(&entry?.1).unwrap_or_default();
        let named = rows
            .iter()
            .filter_map(|(_, row)| Some((row.original?, row.bytes)));
        originals.extend(named);
    }
    Ok(originals)
}
