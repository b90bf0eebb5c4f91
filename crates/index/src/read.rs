//! Records put together from what is stored apart: a row, its codes, its payload, the names of its numbers.
//! Reads only, and notices a write that came between two of its reads, after which the caller reads again.

mod listing;

use std::{
    collections::{HashMap, hash_map},
    sync::PoisonError,
};

use super::{
    Match,
    damage::Damage,
    directory::{Directory, Hit},
    error::IndexError,
    generation::Generation,
    key::{self, Key},
    names,
    page::{self, Words},
    record::{ImageId, PackedId, Record, Row},
    revision::Revision,
    store::Store,
};

/// How often a read is tried beside writes before it has them wait.
const TRIES: usize = 4;

/// What one read has needed so far.
pub struct Reading<'a> {
    store: &'a Store,
    /// Whose codes are read.
    generation: &'a Generation,
    /// Whether it is the one beside, which may not have all codes.
    beside: bool,
    /// The bytes of pages of rows and of codes.
    rows: HashMap<u32, Option<sled::IVec>>,
    codes: HashMap<u32, Option<sled::IVec>>,
    names: HashMap<u32, String>,
}

impl Store {
    /// Reads what a generation's directory and the tree tell of one moment; the active generation's where none is asked for. `read`
    /// returns none where it finds that they do not agree, as they may while a commit goes on beside it.
    ///
    /// # Errors
    /// [`IndexError::Generation`] where there is no such generation any more, and those of `read`.
    pub fn steady<T>(
        &self,
        generation: Option<u32>,
        read: impl Fn(&Directory, &mut Reading) -> Result<Option<T>, IndexError>,
    ) -> Result<T, IndexError> {
        let read = || {
            let present = self.present();
            let side = (present.side(generation)).ok_or_else(|| IndexError::Generation {
                given: generation.unwrap_or_default(),
                active: present.active.generation.number,
            })?;
            let beside = side.generation.number != present.active.generation.number;
            let mut reading = Reading::of(self, &side.generation, beside);
            let found = read(&side.directory, &mut reading)?;
            Ok::<_, IndexError>((found, reading.still()?))
        };
        let mut gate = self.gate.try_read().ok();
        // A commit is under way, which a reader does not wait for unless it goes wrong again and again.
        for _ in 0..TRIES {
            if gate.is_some() {
                break;
            }
            if let (Some(found), true) = read()? {
                return Ok(found);
            }
            gate = self.gate.try_read().ok();
        }
        let _gate =
            gate.unwrap_or_else(|| self.gate.read().unwrap_or_else(PoisonError::into_inner));
        let (found, _) = read()?;
        let damaged = || Damage {
            what: "a row page".to_owned(),
            why: "it lacks an image that was there when the store was opened".to_owned(),
        };
        Ok(found.ok_or_else(damaged)?)
    }
}

impl<'a> Reading<'a> {
    fn of(store: &'a Store, generation: &'a Generation, beside: bool) -> Self {
        Reading {
            store,
            generation,
            beside,
            rows: HashMap::new(),
            codes: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// Whether all rows that were read are as they were. Every write of an image changes its row.
    fn still(&self) -> Result<bool, IndexError> {
        for (number, bytes) in &self.rows {
            if self.store.db.get(Key::Rows(*number).to_bytes())? != *bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn row(&mut self, sequence: u32) -> Result<Option<Row>, IndexError> {
        let (number, slot) = page::place(sequence);
        let bytes = get(&mut self.rows, number, &self.store.db, || {
            Key::Rows(number).to_bytes()
        })?;
        let row = bytes.as_ref().map(|bytes| page::find(bytes, slot));
        let row = row.transpose().map_err(|why| Damage::rows(number, why))?;
        Ok(row.flatten())
    }

    fn words(&mut self, sequence: u32) -> Result<Option<Words>, IndexError> {
        let (number, slot) = page::place(sequence);
        let generation = self.generation;
        let key = || generation.codes_key(number);
        let bytes = get(&mut self.codes, number, &self.store.db, key)?;
        let find = |bytes: &sled::IVec| page::find_codes(bytes, &generation.lengths, slot);
        let words = bytes.as_ref().map(find).transpose();
        let words = words.map_err(|why| Damage::codes(number, generation.number, why))?;
        Ok(words.flatten())
    }

    fn name(&mut self, number: u32) -> Result<String, IndexError> {
        match self.names.entry(number) {
            hash_map::Entry::Occupied(entry) => Ok(entry.get().clone()),
            hash_map::Entry::Vacant(entry) => {
                Ok(entry.insert(names::name(&self.store.db, number)?).clone())
            }
        }
    }

    /// The image with a sequence number, if it is there whole. One that the generation beside has no codes of yet is, without codes.
    pub fn record(&mut self, sequence: u32) -> Result<Option<Record>, IndexError> {
        let Some(row) = self.row(sequence)? else {
            return Ok(None);
        };
        let words = match self.words(sequence)? {
            Some(words) => words,
            None if self.beside => Words::new(),
            None => return Ok(None),
        };
        let payload = row.payload.then(|| self.store.payload(sequence));
        let names = row.labels.iter().map(|&label| self.name(label));
        Ok(Some(Record {
            labels: names.collect::<Result<_, _>>()?,
            media_type: self.name(row.media_type)?,
            revision: Revision::of(self.store.id, self.generation.number, sequence, &row),
            updated_at_ms: row.updated_at_ms(),
            id: row.id.into(),
            codes: self.generation.codes(&words),
            payload: match payload.transpose() {
                Ok(payload) => payload,
                // It may have been removed since its row was read.
                Err(_) if !self.still()? => return Ok(None),
                Err(error) => return Err(error),
            },
            bytes: row.bytes,
            original: row.original,
            created_at_ms: row.created_at_ms,
        }))
    }

    /// The image of a hit, if its code is still the one that was found and it still has one of the labels, if any were
    /// asked for.
    pub fn found(
        &mut self,
        hit: &Hit,
        labels: Option<&[u32]>,
    ) -> Result<Option<Match>, IndexError> {
        let Some(record) = self.record(hit.sequence)? else {
            return Ok(None);
        };
        let labelled = |row: Row| labels.is_none_or(|labels| has_any(&row, labels));
        let code = record.codes.iter().find(|code| code.length() == hit.length);
        let code = code.copied().filter(|code| code.word() == hit.word);
        Ok(
            match (code, self.row(hit.sequence)?.is_some_and(labelled)) {
                (Some(code), true) => Some(Match {
                    distance: hit.distance,
                    code,
                    record,
                }),
                _ => None,
            },
        )
    }

    /// The sequence number of an id: the outer option is none where directory and rows do not agree.
    pub fn place(
        &mut self,
        directory: &Directory,
        id: &ImageId,
    ) -> Result<Option<Option<u32>>, IndexError> {
        let packed = PackedId::from(id);
        for sequence in directory.with_id(self.store.hash(id)) {
            match self.row(sequence)? {
                Some(row) if row.id == packed => return Ok(Some(Some(sequence))),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(Some(None))
    }
}

fn has_any(row: &Row, labels: &[u32]) -> bool {
    row.labels.iter().any(|label| labels.contains(label))
}

/// A page, from the tree where it was not read yet.
fn get<'a>(
    pages: &'a mut HashMap<u32, Option<sled::IVec>>,
    number: u32,
    tree: &sled::Tree,
    key: impl FnOnce() -> Vec<u8>,
) -> Result<&'a Option<sled::IVec>, IndexError> {
    match pages.entry(number) {
        hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
        hash_map::Entry::Vacant(entry) => Ok(entry.insert(tree.get(key())?)),
    }
}
