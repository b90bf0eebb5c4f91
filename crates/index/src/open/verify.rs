//! Checks a whole store: every page, payload and name, that the stored values are those of the
//! payloads, and that no original key is both used and
//! unreferenced. Names the damage and changes nothing.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    disk::{
        engine,
        fields::{Fields, Words},
        generations::Generations,
        key::{self, Key},
        names, originals,
        page::{self, Page},
        row::Row,
    },
    open::load,
    types::{
        config::SketchStorage,
        error::{Damage, IndexError},
        field::{Field, FieldType, FieldValue, word},
        id::OriginalKey,
    },
    view::store::Store,
};

/// Returns all damage. A concurrent write would be reported as damage.
pub fn verify(store: &Store) -> Result<Vec<Damage>, IndexError> {
    let db = store.db()?;
    let generations = Generations::read(&db)?;
    let fields: Arc<[Field]> = Fields::read(&db)?.fields.into();
    let loaded = load::load(
        &db,
        &generations,
        &fields,
        Some(SketchStorage::Disk),
        |id| store.hash(id),
    )?;
    let mut damage = loaded.damage;
    damage.extend(store.lost_commits.clone());
    let mut damaged = |what: String, why: &str| {
        damage.push(Damage {
            what,
            why: why.to_owned(),
        });
    };
    let (mut payloads, mut originals) = (BTreeSet::new(), HashSet::new());
    let (mut numbers, mut damaged_rows) = (HashSet::new(), HashSet::new());
    for entry in db.iter() {
        let (key, value) = entry?;
        match Key::from_bytes(&key) {
            Some(Key::Rows(number)) => {
                // The damage of a page is known.
                let Ok(rows) = page::decode::<Row>(&value) else {
                    damaged_rows.insert(number);
                    continue;
                };
                for (slot, row) in rows {
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
    let mut values: Vec<Values> = fields.iter().map(Values::of).collect();
    for sequence in &payloads {
        match Store::payload(&db, *sequence) {
            Ok(payload) => {
                for values in &mut values {
                    if !values.agree(&db, *sequence, &payload)? {
                        damaged(values.what(*sequence), "they are not those of its payload");
                    }
                }
            }
            Err(IndexError::Corrupt { what, why }) => damaged(what, &why),
            Err(other) => return Err(other),
        }
    }
    for values in &values {
        for entry in db.range(key::values(values.field.number, 0..u32::MAX)) {
            let (key, _) = entry?;
            let Some(Key::Values { page, .. }) = Key::from_bytes(&key) else {
                continue;
            };
            let words = Store::values(&db, values.field, page).unwrap_or_default();
            if values.field.kind == FieldType::Keyword {
                let words = words.values().flatten();
                numbers.extend(words.filter_map(|&word| word::keyword(word)));
            }
            let slots = words.into_keys().filter(|_| !damaged_rows.contains(&page));
            let sequences = slots.map(|slot| page * page::SLOTS + u32::from(slot));
            for sequence in sequences.filter(|sequence| !payloads.contains(sequence)) {
                damaged(values.what(sequence), "it has no payload");
            }
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

/// The values of a field, read in the order of the images.
struct Values<'a> {
    field: &'a Field,
    /// The last page read; `None` in it if the page is damaged.
    page: Option<(u32, Option<Page<Words>>)>,
    /// The words of the keywords seen so far.
    keywords: HashMap<String, Option<u64>>,
}

impl<'a> Values<'a> {
    fn of(field: &'a Field) -> Self {
        Values {
            field,
            page: None,
            keywords: HashMap::new(),
        }
    }

    /// Returns false if the stored words of an image are not those of its payload. An image that
    /// is not built yet has none.
    fn agree(
        &mut self,
        db: &engine::Db,
        sequence: u32,
        payload: &Value,
    ) -> Result<bool, IndexError> {
        let (number, slot) = page::page_and_slot(sequence);
        if self.page.as_ref().is_none_or(|(known, _)| *known != number) {
            let words = match Store::values(db, self.field, number) {
                // The damage of the page is known.
                Err(IndexError::Corrupt { .. }) => None,
                words => Some(words?),
            };
            self.page = Some((number, words));
        }
        let Some((_, Some(words))) = &self.page else {
            return Ok(true);
        };
        let Some(stored) = words.get(&slot) else {
            return Ok(!self.field.built || self.field.values(Some(payload)).is_empty());
        };
        let mut expected = BTreeSet::new();
        for value in self.field.values(Some(payload)) {
            let word = match value {
                FieldValue::Null => word::NULL,
                FieldValue::NotHeld => word::NOT_HELD,
                FieldValue::Empty => word::EMPTY,
                FieldValue::Word(word) => word,
                FieldValue::Keyword(text) => {
                    let word = match self.keywords.entry(text) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(new) => {
                            let number = match names::number(db, new.key()) {
                                Err(IndexError::Corrupt { .. }) => None,
                                number => number?,
                            };
                            *new.insert(number.map(word::of_keyword))
                        }
                    };
                    let Some(word) = word else {
                        return Ok(false);
                    };
                    word
                }
            };
            expected.insert(word);
        }
        Ok(expected.iter().eq(stored))
    }

    /// The name of an image's values.
    fn what(&self, sequence: u32) -> String {
        let path = &self.field.path;
        format!("the values of the field {path} of the image with sequence number {sequence}")
    }
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
