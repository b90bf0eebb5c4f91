//! Records put together from what is stored apart: a row, its codes, its payload, the names of its numbers.
//! Reads only, and notices a write that came between two of its reads, after which the caller reads again.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, PoisonError},
};

use crate::{
    disk::{
        engine::{self, room::is_full},
        key::Key,
        names,
        page::{self, CodeWords},
        row::{PackedId, Row},
        sketch_page,
    },
    memory::{ball::Hit, directory::Directory, sketches::Sketches},
    types::{
        error::{Damage, IndexError},
        id::ImageId,
        query::Match,
        record::Record,
        sketch::Sketch,
    },
    view::{generations::GenerationView, store::Store},
};

/// How often a read is tried beside writes before it has them wait.
const TRIES: usize = 4;

/// What one read has needed so far.
pub struct Reading<'a> {
    pub(super) store: &'a Store,
    pub(super) db: Arc<engine::Db>,
    /// Whose codes are read.
    pub(super) side: &'a GenerationView,
    /// Whether it is the one beside, which may not have all codes.
    pub(super) standby: bool,
    /// How many images there are.
    pub(super) images: u64,
    /// What the [moment](Store::moment) was before anything was read.
    pub(super) moment: u64,
    /// Whether something was read that no row vouches for.
    pub(super) loose: bool,
    /// The bytes of pages of rows, of codes and of sketches.
    pub(super) rows: HashMap<u32, Option<engine::IVec>>,
    pub(super) codes: HashMap<u32, Option<engine::IVec>>,
    pub(super) sketches: HashMap<u32, Option<engine::IVec>>,
    pub(super) names: HashMap<u32, String>,
}

impl Store {
    /// Reads what a generation's directory and the tree tell of one moment; the active generation's where none is asked for. `read`
    /// returns none where it finds that they do not agree, as they may while a commit goes on beside it.
    ///
    /// # Errors
    /// [`IndexError::Generation`] where there is no such generation any more, [`Reopening`](IndexError::Reopening) after a write that failed, and
    /// those of `read`.
    pub fn read_consistent<T>(
        &self,
        generation: Option<u32>,
        read: impl Fn(&Directory, &mut Reading) -> Result<Option<T>, IndexError>,
    ) -> Result<T, IndexError> {
        let read = || {
            let moment = self.moment();
            let view = self.view();
            let side = (view.side(generation)).ok_or_else(|| IndexError::Generation {
                given: generation.unwrap_or_default(),
                active: view.active.generation.number,
            })?;
            let standby = side.generation.number != view.active.generation.number;
            let mut reading = Reading {
                images: view.images,
                ..Reading::of(self, self.db()?, side, standby, moment)
            };
            let found = read(&side.directory, &mut reading).map_err(|error| match error {
                // sled has met a full disk, which is mended by opening it again.
                IndexError::Store {
                    source: engine::Error::Io(cause),
                } if is_full(&cause) => IndexError::Reopening,
                error => error,
            })?;
            Ok::<_, IndexError>((found, reading.rows_unchanged()?))
        };
        let mut gate = self.gate.try_read().ok();
        // A commit is under way, which a reader does not wait for unless it goes wrong again and again.
        for _ in 0..TRIES {
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
            // Part of a write that failed may be seen, or one that was seen be missing, until that is completed.
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
    fn of(
        store: &'a Store,
        db: Arc<engine::Db>,
        side: &'a GenerationView,
        standby: bool,
        moment: u64,
    ) -> Self {
        Reading {
            store,
            db,
            side,
            standby,
            images: 0,
            moment,
            loose: false,
            rows: HashMap::new(),
            codes: HashMap::new(),
            sketches: HashMap::new(),
            names: HashMap::new(),
        }
    }

    /// Whether all rows that were read are as they were. Every write of an image changes its row. Where more than images with their rows was
    /// read, nothing at all may have changed.
    fn rows_unchanged(&self) -> Result<bool, IndexError> {
        if self.loose && self.is_disturbed() {
            return Ok(false);
        }
        for (number, bytes) in &self.rows {
            if self.db.get(Key::Rows(*number).to_bytes())? != *bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether anything may have changed since it was begun, or is changing.
    fn is_disturbed(&self) -> bool {
        self.moment % 2 == 1 || self.store.moment() != self.moment
    }

    /// Nothing, and whatever was read is read again.
    pub(super) fn again<T>(&mut self) -> Option<T> {
        self.loose = true;
        None
    }

    /// The labels' numbers; see [`Store::numbers`].
    pub fn numbers(&self, labels: &[String]) -> Result<Vec<u32>, IndexError> {
        Store::numbers(&self.db, labels)
    }

    pub(super) fn row(&mut self, sequence: u32) -> Result<Option<Row>, IndexError> {
        let (number, slot) = page::place(sequence);
        let bytes = get(&mut self.rows, number, &self.db, || {
            Key::Rows(number).to_bytes()
        })?;
        let row = bytes.as_ref().map(|bytes| page::find(bytes, slot));
        let row = row.transpose().map_err(|why| Damage::rows(number, why))?;
        Ok(row.flatten())
    }

    fn words(&mut self, sequence: u32) -> Result<Option<CodeWords>, IndexError> {
        let (number, slot) = page::place(sequence);
        let generation = &self.side.generation;
        let key = || generation.codes_key(number);
        let bytes = get(&mut self.codes, number, &self.db, key)?;
        let find = |bytes: &engine::IVec| page::find_codes(bytes, &generation.lengths, slot);
        let words = bytes.as_ref().map(find).transpose();
        let words = words.map_err(|why| Damage::codes(number, generation.number, why))?;
        Ok(words.flatten())
    }

    /// The code of a length that an image has, if it has any: the length's place among those of the generation is `at`.
    pub fn word(&mut self, sequence: u32, at: usize) -> Result<Option<u64>, IndexError> {
        self.loose = true;
        Ok(self
            .words(sequence)?
            .and_then(|words| words.get(at).copied()))
    }

    /// Whether the images have sketches.
    pub fn has_sketches(&self) -> bool {
        self.side.generation.sketch.is_some()
    }

    /// Whether sketches are read without the disk.
    pub fn in_memory(&self) -> bool {
        matches!(self.side.sketches, Sketches::Memory(_))
    }

    /// Whether a sketch may be compared with those of the images, if they have any.
    ///
    /// # Errors
    /// [`IndexError::Sketch`].
    pub fn comparable(&self, sketch: &Sketch) -> Result<(), IndexError> {
        self.side.generation.fitting(Some(sketch)).map(drop)
    }

    /// The similarity of a sketch to that of each image, in the order of the images; none if an image has no sketch, or its page is damaged.
    pub fn similarities(
        &mut self,
        sketch: &Sketch,
        sequences: impl ExactSizeIterator<Item = u32>,
    ) -> Result<Vec<Option<f32>>, IndexError> {
        match &self.side.sketches {
            Sketches::None => Ok(vec![None; sequences.len()]),
            Sketches::Memory(array) => Ok(array.similarities(sketch, sequences)),
            Sketches::Disk => {
                self.loose = true;
                let similarities = sequences.map(|sequence| {
                    let stored = self.sketch(sequence)?;
                    Ok(stored.map(|stored| sketch.similarity(&stored)))
                });
                similarities.collect()
            }
        }
    }

    /// The sketch of an image, if it has one that can be read.
    fn sketch(&mut self, sequence: u32) -> Result<Option<Sketch>, IndexError> {
        let side = self.side;
        match (&side.sketches, side.generation.sketch) {
            (Sketches::Memory(array), _) => Ok(array.get(sequence)),
            (Sketches::Disk, Some(width)) => {
                let (number, slot) = sketch_page::place(sequence);
                let key = || side.generation.sketches_key(number);
                let bytes = get(&mut self.sketches, number, &self.db, key)?;
                // What is wrong with a page was said when it was opened.
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

    /// The image with a sequence number, if it is there whole. One that the generation beside has no codes of yet is, without codes.
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
            // No image may have the label any more since its row was read.
            Err(_) if self.is_disturbed() => return Ok(self.again()),
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
                // It may have been removed since its row was read.
                Err(_) if self.is_disturbed() => return Ok(self.again()),
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
        similarity: Option<f32>,
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
                    similarity,
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

pub(super) fn has_any(row: &Row, labels: &[u32]) -> bool {
    row.labels.iter().any(|label| labels.contains(label))
}

/// A page, from the tree where it was not read yet.
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
