//! Assembles records from rows, codes, payloads and names. Detects a write between two of its
//! reads, after which the caller reads again.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, PoisonError},
};

use crate::{
    disk::{
        engine::{self, disk_space::is_full},
        key::Key,
        names,
        page::{self, CodeWords},
        row::{PackedId, Row},
        sketch_page,
    },
    memory::{directory::Directory, selection::Hit, sketches::Sketches},
    types::{
        error::{Damage, IndexError},
        id::ImageId,
        query::Match,
        record::Record,
        sketch::Sketch,
    },
    view::{generations::GenerationView, store::Store},
};

/// The number of attempts next to writes before a read blocks them.
const MAX_TRIES: usize = 4;

/// The state of one consistent read.
pub struct Reading<'a> {
    pub(super) store: &'a Store,
    pub(super) db: Arc<engine::Db>,
    /// The generation whose codes are read.
    pub side: &'a GenerationView,
    /// True if it is the standby generation, which may lack codes.
    pub(super) standby: bool,
    /// The number of images.
    pub(super) images: u64,
    /// The [change count](Store::change_count) before the first read.
    pub(super) change_count: u64,
    /// True if any change of the store invalidates the read, not only a change of the rows read.
    pub(super) voided_by_any_change: bool,
    /// The pages read so far; `None` if a page does not exist.
    pub(super) rows: HashMap<u32, Option<engine::IVec>>,
    pub(super) codes: HashMap<u32, Option<engine::IVec>>,
    pub(super) sketches: HashMap<u32, Option<engine::IVec>>,
    pub(super) names: HashMap<u32, String>,
}

/// The sequence number of an id, if any.
pub enum Lookup {
    /// The image has this one.
    Found(u32),
    /// There is no such image.
    Absent,
    /// Directory and rows disagree; read again.
    Inconsistent,
}

impl Store {
    /// Runs `read` on a generation's directory and the tree, both as of the same commit; `None`
    /// means the active generation. `read` returns `None` if they disagree, which can happen during
    /// a commit; it is then run again.
    ///
    /// # Errors
    /// [`IndexError::Generation`] if the generation no longer exists,
    /// [`Reopening`](IndexError::Reopening) after a failed write, and the errors of `read`.
    pub fn read_consistent<T>(
        &self,
        generation: Option<u32>,
        read: impl Fn(&Directory, &mut Reading) -> Result<Option<T>, IndexError>,
    ) -> Result<T, IndexError> {
        let read = || {
            let change_count = self.change_count();
            let view = self.view();
            let side = (view.side(generation)).ok_or_else(|| IndexError::Generation {
                given: generation.unwrap_or_default(),
                active: view.active.generation.number,
            })?;
            let standby = side.generation.number != view.active.generation.number;
            let mut reading = Reading {
                images: view.images,
                ..Reading::new(self, self.db()?, side, standby, change_count)
            };
            let found = read(&side.directory, &mut reading).map_err(|error| match error {
                // sled ran into a full disk; reopening it helps.
                IndexError::Store {
                    source: engine::Error::Io(cause),
                } if is_full(&cause) => IndexError::Reopening,
                error => error,
            })?;
            Ok::<_, IndexError>((found, reading.rows_unchanged()?))
        };
        let mut gate = self.gate.try_read().ok();
        // A commit holds the gate. A reader waits for it only if its attempts keep failing.
        for _ in 0..MAX_TRIES {
            if gate.is_some() {
                break;
            }
            match read() {
                Ok((Some(found), true)) => return Ok(found),
                Err(error) if !self.database().is_torn() => return Err(error),
                _ => {}
            }
            gate = self.gate.try_read().ok();
        }
        let _gate =
            gate.unwrap_or_else(|| self.gate.read().unwrap_or_else(PoisonError::into_inner));
        let read = read();
        if self.database().is_torn()
            && matches!(read, Err(IndexError::Corrupt { .. }) | Ok((None, _)))
        {
            // Until the failed write is completed, part of it may be visible, or a visible write
            // may be missing.
            return Err(IndexError::Reopening);
        }
        let (found, _) = read?;
        let damaged = || Damage {
            what: "a row page".to_owned(),
            why: "it lacks an image that was there when the store was opened".to_owned(),
        };
        Ok(found.ok_or_else(damaged)?)
    }
}

impl<'a> Reading<'a> {
    fn new(
        store: &'a Store,
        db: Arc<engine::Db>,
        side: &'a GenerationView,
        standby: bool,
        change_count: u64,
    ) -> Self {
        Reading {
            store,
            db,
            side,
            standby,
            images: 0,
            change_count,
            voided_by_any_change: false,
            rows: HashMap::new(),
            codes: HashMap::new(),
            sketches: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// Returns true if all rows that were read are unchanged; every write of an image changes its
    /// row. If the read depends on more than rows, nothing at all may have changed.
    fn rows_unchanged(&self) -> Result<bool, IndexError> {
        if self.voided_by_any_change && self.may_have_changed() {
            return Ok(false);
        }
        for (number, bytes) in &self.rows {
            if self.db.get(Key::Rows(*number).to_bytes())? != *bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns true if the store may have changed since the read began, or is changing.
    pub(super) fn may_have_changed(&self) -> bool {
        self.change_count % 2 == 1 || self.store.change_count() != self.change_count
    }

    /// Returns `None` and makes the caller read again.
    pub(super) fn retry<T>(&mut self) -> Option<T> {
        self.voided_by_any_change = true;
        None
    }

    pub(super) fn row(&mut self, sequence: u32) -> Result<Option<Row>, IndexError> {
        let (number, slot) = page::page_and_slot(sequence);
        let bytes = get(&mut self.rows, number, &self.db, || {
            Key::Rows(number).to_bytes()
        })?;
        let row = bytes.as_ref().map(|bytes| page::find(bytes, slot));
        let row = row.transpose().map_err(|why| Damage::rows(number, why))?;
        Ok(row.flatten())
    }

    fn words(&mut self, sequence: u32) -> Result<Option<CodeWords>, IndexError> {
        let (number, slot) = page::page_and_slot(sequence);
        let generation = &self.side.generation;
        let key = || generation.codes_key(number);
        let bytes = get(&mut self.codes, number, &self.db, key)?;
        let find = |bytes: &engine::IVec| page::find_codes(bytes, &generation.lengths, slot);
        let words = bytes.as_ref().map(find).transpose();
        let words = words.map_err(|why| Damage::codes(number, generation.number, why))?;
        Ok(words.flatten())
    }

    /// Returns true if the generation has sketches.
    pub fn has_sketches(&self) -> bool {
        self.side.generation.sketch.is_some()
    }

    /// Returns true if sketches are in memory.
    pub fn has_sketches_in_memory(&self) -> bool {
        matches!(self.side.sketches, Sketches::Memory(_))
    }

    /// Checks that a sketch can be compared with those of the generation, if it has any.
    ///
    /// # Errors
    /// [`IndexError::Sketch`].
    pub fn check_comparable(&self, sketch: &Sketch) -> Result<(), IndexError> {
        self.side.generation.checked_sketch(Some(sketch)).map(drop)
    }

    /// The similarity of a sketch to that of each image, in the order of the images; `None` if an
    /// image has no sketch or its page is damaged.
    pub fn similarities(
        &mut self,
        sketch: &Sketch,
        sequences: impl ExactSizeIterator<Item = u32>,
    ) -> Result<Vec<Option<f32>>, IndexError> {
        match &self.side.sketches {
            Sketches::None => Ok(vec![None; sequences.len()]),
            Sketches::Memory(array) => Ok(array.similarities(sketch, sequences)),
            Sketches::Disk => {
                self.voided_by_any_change = true;
                let similarities = sequences.map(|sequence| {
                    let stored = self.sketch(sequence)?;
                    Ok(stored.map(|stored| sketch.similarity(&stored)))
                });
                similarities.collect()
            }
        }
    }

    /// The sketch of an image, if it has a readable one.
    pub fn sketch(&mut self, sequence: u32) -> Result<Option<Sketch>, IndexError> {
        let side = self.side;
        match (&side.sketches, side.generation.sketch) {
            (Sketches::Memory(array), _) => Ok(array.get(sequence)),
            (Sketches::Disk, Some(width)) => {
                let (number, slot) = sketch_page::page_and_slot(sequence);
                let key = || side.generation.sketches_key(number);
                let bytes = get(&mut self.sketches, number, &self.db, key)?;
                // Damage of this page was reported when the store was opened.
                let page = bytes
                    .as_ref()
                    .map(|bytes| sketch_page::find(bytes, width, slot));
                Ok(page.and_then(Result::ok).flatten())
            }
            _ => Ok(None),
        }
    }

    fn name(&mut self, number: u32) -> Result<String, IndexError> {
        match self.names.entry(number) {
            hash_map::Entry::Occupied(entry) => Ok(entry.get().clone()),
            hash_map::Entry::Vacant(entry) => {
                Ok(entry.insert(names::name(&self.db, number)?).clone())
            }
        }
    }

    /// Reads the record of an image, if it exists completely. In the standby generation, an image
    /// that has no codes yet is returned without codes.
    pub fn record(&mut self, sequence: u32) -> Result<Option<Record>, IndexError> {
        let Some(row) = self.row(sequence)? else {
            return Ok(None);
        };
        let words = match self.words(sequence)? {
            Some(words) => words,
            None if self.standby => CodeWords::new(),
            None => return Ok(None),
        };
        let payload = row.payload.then(|| Store::payload(&self.db, sequence));
        let names = row.labels.iter().map(|&label| self.name(label));
        let labels = match names.collect::<Result<_, _>>() {
            Ok(labels) => labels,
            // The label may have lost its last image since the row was read.
            Err(_) if self.may_have_changed() => return Ok(self.retry()),
            Err(error) => return Err(error),
        };
        Ok(Some(Record {
            labels,
            media_type: self.name(row.media_type)?,
            revision: row.revision(self.store.id, self.side.generation.number, sequence),
            updated_at_ms: row.updated_at_ms(),
            id: row.id.into(),
            sketch: self.sketch(sequence)?,
            codes: self.side.generation.codes(&words),
            payload: match payload.transpose() {
                Ok(payload) => payload,
                // The payload may have been removed since the row was read.
                Err(_) if self.may_have_changed() => return Ok(self.retry()),
                Err(error) => return Err(error),
            },
            bytes: row.bytes,
            original: row.original,
            created_at_ms: row.created_at_ms,
        }))
    }

    /// Reads the image of a hit; `None` if its code changed or it no longer meets the condition.
    pub fn found(
        &mut self,
        hit: &Hit,
        similarity: Option<f32>,
        passes: impl Fn(&Record) -> bool,
    ) -> Result<Option<Match>, IndexError> {
        let Some(record) = self.record(hit.sequence)? else {
            return Ok(None);
        };
        let code = record.codes.iter().find(|code| code.length() == hit.length);
        let code = code.copied().filter(|code| code.word() == hit.word);
        let code = code.filter(|_| passes(&record));
        Ok(code.map(|code| Match {
            distance: hit.distance,
            similarity,
            code,
            record,
        }))
    }

    /// Looks up the sequence number of an id.
    pub fn sequence_of(
        &mut self,
        directory: &Directory,
        id: &ImageId,
    ) -> Result<Lookup, IndexError> {
        let packed = PackedId::from(id);
        for sequence in directory.with_id(self.store.hash(id)) {
            match self.row(sequence)? {
                Some(row) if row.id == packed => return Ok(Lookup::Found(sequence)),
                Some(_) => {}
                None => return Ok(Lookup::Inconsistent),
            }
        }
        Ok(Lookup::Absent)
    }
}

/// Returns a page, read from the tree on first use.
fn get<'a>(
    pages: &'a mut HashMap<u32, Option<engine::IVec>>,
    number: u32,
    tree: &engine::Tree,
    key: impl FnOnce() -> Vec<u8>,
) -> Result<&'a Option<engine::IVec>, IndexError> {
    match pages.entry(number) {
        hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
        hash_map::Entry::Vacant(entry) => Ok(entry.insert(tree.get(key())?)),
    }
}
