//! A group of writes that is committed as one: each is staged over those before it, then all are applied in one batch.
//! Knows what a write does to row, codes, payload, names of originals and directory; nothing of who waits for it.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    code::HashCode,
    disk::{
        engine,
        names::Names,
        originals,
        page::CodeWords,
        position::LogPosition,
        row::{PackedId, Row},
        state::{State, mark},
    },
    memory::{segment::Change, sketches::array::SketchChange},
    types::{
        error::IndexError,
        id::{self, ImageId, OriginalKey},
        record::{Codes, NewImage, Record, Times},
        sketch::Sketch,
    },
    view::{
        generations::{Counts, GenerationView},
        store::Store,
    },
    write::staged::{GenerationChange, Staged},
};

/// Writes staged and not yet committed. One that fails leaves nothing behind.
pub struct Group<'a> {
    pub(super) store: &'a Store,
    pub(super) db: Arc<engine::Db>,
    pub(super) state: State,
    pub(super) staged: Staged<'a>,
    /// What becomes of the directory of each generation, the active one first.
    pub(super) sides: Vec<Changed>,
    pub(super) originals: originals::Changes,
    pub(super) generation_change: Option<GenerationChange>,
    /// How many pages of generations that are gone it removes.
    pub(super) purged: usize,
    /// The last write of a log that is applied with it.
    pub(super) applied: Option<LogPosition>,
    /// How many messages of a log are broken and passed over.
    pub(super) broken: u64,
    /// Whether any write is of images, and the position of the last that is, where there is a log.
    pub(super) changed: Option<Option<u64>>,
}

/// An image's words and its sketch in each generation, the active one first.
type Coded = (Vec<Option<CodeWords>>, Vec<Option<Sketch>>);

/// What a group changes of a generation.
pub(super) struct Changed {
    pub(super) changes: Vec<Change>,
    pub(super) sketches: Vec<SketchChange>,
    pub(super) counts: Counts,
}

impl<'a> Group<'a> {
    /// An empty group, after the commits that `state` tells of.
    ///
    /// # Errors
    /// [`IndexError::Reopening`].
    pub fn new(store: &'a Store, names: &'a mut Names, state: State) -> Result<Self, IndexError> {
        let db = store.db()?;
        let staged = Staged::new(store, db.clone(), names);
        let changed = |side: &GenerationView| Changed {
            changes: Vec::new(),
            sketches: Vec::new(),
            counts: side.counts(),
        };
        Ok(Group {
            store,
            db,
            state,
            sides: staged.view.sides().map(changed).collect(),
            staged,
            originals: originals::Changes::default(),
            generation_change: None,
            purged: 0,
            applied: None,
            broken: 0,
            changed: None,
        })
    }

    /// How many commits there were before it.
    pub fn commits(&self) -> u64 {
        self.state.commit
    }

    /// Whether it changes generations. Whatever comes after that needs another group, for what is present is another then.
    pub fn changes_generations(&self) -> bool {
        self.generation_change.is_some()
    }

    /// That a log is applied up to a position with it, and whether what rows let go of in the writes that follow is this store's to tell.
    pub fn at(&mut self, applied: LogPosition, own: bool) {
        self.applied = Some(applied);
        self.originals.elsewhere = !own;
    }

    /// Counts a message of the log that is broken, so that nothing can be done for it.
    pub fn pass_over(&mut self) {
        self.broken += 1;
    }

    /// The size of the payloads staged.
    pub fn bytes(&self) -> usize {
        self.staged.bytes
    }

    /// Inserts or replaces an image, and tells whether it is new. A replaced one keeps its age.
    pub fn put(&mut self, image: NewImage) -> Result<(Record, bool), IndexError> {
        let (words, sketches) = self.coded(image.codes)?;
        let before = self.staged.find(&image.id)?;
        let labels = id::labels(image.labels);
        let payload = image.payload.filter(|payload| !payload.is_null());
        let json = payload.as_ref().map(encode_payload).transpose()?;
        let sequence = before
            .as_ref()
            .map_or(self.state.next, |found| found.sequence);
        if sequence == u32::MAX {
            return Err(IndexError::Full);
        }
        let Times {
            created_at_ms: created,
            updated_at_ms: now,
        } = image.times.unwrap_or_else(Times::now);
        let created_at_ms = (before.as_ref()).map_or(created, |found| found.row.created_at_ms);
        let (version, updated_after_ms) = match &before {
            Some(found) => found.row.after(now),
            None => (0, now.saturating_sub(created_at_ms)),
        };
        let row = Row {
            id: PackedId::from(&image.id),
            version,
            payload: json.is_some(),
            labels: self.staged.numbers(&labels)?,
            media_type: self.staged.number(&image.media_type)?,
            bytes: image.bytes,
            original: image.original,
            created_at_ms,
            updated_after_ms,
        };
        self.touch(sequence)?;
        let had = before.as_ref().and_then(|found| found.row.original);
        self.originals.replace(&self.db, had, image.original)?;

        let created = before.is_none();
        if created {
            self.state.next += 1;
            self.state.images += 1;
            self.state.marks = self.state.marks.wrapping_add(mark(sequence, &image.id));
        }
        let had_payload = before.as_ref().is_some_and(|found| found.row.payload);
        self.staged
            .save_payload(sequence, json.zip(payload.clone()), had_payload);
        self.staged.places.insert(image.id.clone(), Some(sequence));
        let record = Record {
            id: image.id,
            codes: self.active_codes(&words),
            sketch: sketches.first().cloned().flatten(),
            labels,
            payload,
            media_type: image.media_type,
            bytes: row.bytes,
            original: row.original,
            created_at_ms,
            updated_at_ms: row.updated_at_ms(),
            revision: self.revision(sequence, &row),
        };
        self.change(sequence, &record.id, before, Some((row, words)))?;
        for (side, sketch) in sketches.into_iter().enumerate() {
            self.sketch(side, sequence, sketch)?;
        }
        Ok((record, created))
    }

    /// Changes labels, payload or both; `None` where there is no such image.
    pub fn patch(
        &mut self,
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
        at_ms: u64,
    ) -> Result<Option<Record>, IndexError> {
        let Some(before) = self.staged.find(&id)? else {
            return Ok(None);
        };
        let sequence = before.sequence;
        let payload = match payload {
            Some(payload) => payload.filter(|payload| !payload.is_null()),
            None => self.staged.payload(&before)?,
        };
        let json = payload.as_ref().map(encode_payload).transpose()?;
        let mut row = before.row.clone();
        let labels = match labels {
            Some(labels) => {
                let labels = id::labels(labels);
                row.labels = self.staged.numbers(&labels)?;
                labels
            }
            None => self.staged.named(&row.labels)?,
        };
        let media_type = self.staged.named(&[row.media_type])?.concat();
        (row.version, row.updated_after_ms) = row.after(at_ms);
        row.payload = json.is_some();
        let words = before.words.clone();
        self.staged
            .save_payload(sequence, json.zip(payload.clone()), before.row.payload);
        let record = Record {
            codes: self.active_codes(&words),
            sketch: self.staged.sketch(0, sequence)?,
            labels,
            payload,
            media_type,
            bytes: row.bytes,
            original: row.original,
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.updated_at_ms(),
            revision: self.revision(sequence, &row),
            id,
        };
        self.change(sequence, &record.id, Some(before), Some((row, words)))?;
        Ok(Some(record))
    }

    /// Removes all that is kept of an image, and tells whether there was one.
    pub fn delete(&mut self, id: ImageId) -> Result<bool, IndexError> {
        let Some(before) = self.staged.find(&id)? else {
            return Ok(false);
        };
        let sequence = before.sequence;
        self.originals
            .replace(&self.db, before.row.original, None)?;
        self.staged.save_payload(sequence, None, before.row.payload);
        self.state.images -= 1;
        self.state.marks = self.state.marks.wrapping_sub(mark(sequence, &id));
        self.change(sequence, &id, Some(before), None)?;
        for side in 0..self.sides.len() {
            self.sketch(side, sequence, None)?;
        }
        self.staged.places.insert(id, None);
        Ok(true)
    }

    /// Opens a block of names for originals, all of them loose, and tells its number.
    pub fn open_block(&mut self) -> u64 {
        let block = self.state.blocks;
        self.state.blocks += 1;
        self.originals.open(block);
        block
    }

    /// Takes note that nothing lies under these names, which are loose.
    pub fn forget(&mut self, names: &[OriginalKey]) -> Result<(), IndexError> {
        let db = &self.db;
        names
            .iter()
            .try_for_each(|name| self.originals.forget(db, *name))
    }

    /// The words that codes are in each generation, and the sketches: those of the active one have to be among them.
    fn coded(&self, codes: Vec<Codes>) -> Result<Coded, IndexError> {
        let view = &self.staged.view;
        let coded = view.sides().map(|side| {
            let generation = &side.generation;
            let own = |codes: &&Codes| codes.generation == generation.number;
            let Some(Codes { codes, sketch, .. }) = codes.iter().find(own) else {
                return Ok((None, None));
            };
            generation.check_lengths(codes)?;
            let words = codes.iter().map(HashCode::word).collect();
            Ok((Some(words), generation.fitting(sketch.as_ref())?.cloned()))
        });
        let coded: Vec<_> = coded.collect::<Result<_, IndexError>>()?;
        match coded.first() {
            Some((Some(_), _)) => Ok(coded.into_iter().unzip()),
            _ => Err(IndexError::Generation {
                given: codes.first().map_or(0, |codes| codes.generation),
                active: view.active.generation.number,
            }),
        }
    }

    fn active_codes(&self, words: &[Option<CodeWords>]) -> Vec<HashCode> {
        let words = words.first().cloned().flatten().unwrap_or_default();
        self.staged.view.active.generation.codes(&words)
    }
}

/// A payload as it is stored: its JSON, known to read back, for the reader limits nesting where the writer does not.
pub(crate) fn encode_payload(payload: &Value) -> Result<Vec<u8>, IndexError> {
    serde_json::to_vec(payload)
        .and_then(|json| serde_json::from_slice::<Value>(&json).map(|_| json))
        .map_err(|source| IndexError::Payload { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_too_deep_to_read_back_is_refused() {
        let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(encode_payload(&nested(120)).is_ok());
        assert!(matches!(
            encode_payload(&nested(200)),
            Err(IndexError::Payload { .. })
        ));
    }
}
