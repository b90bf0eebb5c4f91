//! Checking a store from end to end: every page, payload, original and name, and that none is left over.
//! Names what is damaged and changes nothing; knows nothing of what may be done about it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    damage::Damage, error::IndexError, key::Key, load, names, page, record::Row, store::Store,
};

/// See the module. What is written meanwhile may be seen or not.
pub fn verify(store: &Store) -> Result<Vec<Damage>, IndexError> {
    let loaded = load::load(&store.db, &store.generation, |id| store.hash(id))?;
    let mut damage = loaded.damage;
    damage.extend(
        store
            .damage
            .iter()
            .filter(|one| one.what == "the end of the store")
            .cloned(),
    );
    let mut damaged = |what: String, why: &str| {
        damage.push(Damage {
            what,
            why: why.to_owned(),
        });
    };
    let (mut payloads, mut originals) = (BTreeSet::new(), BTreeMap::new());
    let mut numbers = HashSet::new();
    for entry in store.db.iter() {
        let (key, value) = entry?;
        match Key::from_bytes(&key) {
            Some(Key::Rows(number)) => {
                for (slot, row) in page::decode::<Row>(&value).unwrap_or_default() {
                    let sequence = number * page::SLOTS + u32::from(slot);
                    if row.payload {
                        payloads.insert(sequence);
                    }
                    if row.bytes > 0 {
                        originals.insert(sequence, row.bytes);
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
        if let Err(IndexError::Corrupt { what, why }) = store.payload(*sequence) {
            damaged(what, &why);
        }
    }
    for (sequence, bytes) in &originals {
        let what = || format!("the original of the image with sequence number {sequence}");
        match store.db.get(Key::Original(*sequence).to_bytes())? {
            Some(value) if value.len() as u64 == *bytes => {}
            Some(value) => damaged(
                what(),
                &format!("it has {} bytes instead of {bytes}", value.len()),
            ),
            None => damaged(what(), "it is missing"),
        }
    }
    for number in numbers {
        if let Err(IndexError::Corrupt { what, why }) = names::name(&store.db, number) {
            damaged(what, &why);
        }
    }
    Ok(damage)
}
