//! A group of writes that is committed at once: each write is staged on top of the earlier ones.

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

/// Staged writes that are not committed yet. A write that fails leaves nothing behind.
pub struct Group<'a> {
    pub(super) store: &'a Store,
    pub(super) db: Arc<engine::Db>,
    pub(super) state: State,
    pub(super) staged: Staged<'a>,
    /// The changes of each generation, the active one first.
    pub(super) sides: Vec<SideChanges>,
    pub(super) originals: originals::Changes,
    pub(super) generation_change: Option<GenerationChange>,
    /// The number of pages of discarded generations that it removes.
    pub(super) purged: usize,
    /// The last write of a log that it applies.
    pub(super) applied: Option<LogPosition>,
    /// The number of unreadable log messages that it skips.
    pub(super) broken: u64,
    /// The [`commit`](crate::view::generations::View::commit) of the view after it; `None` if no
    /// write changes images or generations.
    pub(super) changed_at: Option<u64>,
}

/// The codes and the sketch of an image in each generation, the active one first.
type Coded = (Vec<Option<CodeWords>>, Vec<Option<Sketch>>);

/// The changes of one generation.
pub(super) struct SideChanges {
    pub(super) changes: Vec<Change>,
    pub(super) sketches: Vec<SketchChange>,
    pub(super) counts: Counts,
}

impl<'a> Group<'a> {
    /// Creates an empty group on top of the commits up to `state`.
    ///
    /// # Errors
    /// [`IndexError::Reopening`].
    pub fn new(store: &'a Store, names: &'a mut Names, state: State) -> Result<Self, IndexError> {
        let db = store.db()?;
        let staged = Staged::new(store, db.clone(), names);
        let changed = |side: &GenerationView| SideChanges {
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
            changed_at: None,
        })
    }

    /// The number of commits before it.
    pub fn commits(&self) -> u64 {
        self.state.commit
    }

    /// Returns true if it changes generations. Later writes need a new group, because they need the
    /// view after the change.
    pub fn changes_generations(&self) -> bool {
        self.generation_change.is_some()
    }

    /// Records the log position of the next write. Unless the write is `own`, this store does not
    /// release the originals that become unreferenced.
    pub fn at(&mut self, applied: LogPosition, own: bool) {
        self.applied = Some(applied);
        self.originals.released_elsewhere = !own;
    }

    /// Counts an unreadable message of the log.
    pub fn skip_message(&mut self) {
        self.broken += 1;
    }

    /// The size of the staged payloads in bytes.
    pub fn bytes(&self) -> usize {
        self.staged.bytes
    }

    /// Inserts or replaces an image; returns its record, and true if it is new. A replaced image
    /// keeps its age.
    pub fn put(&mut self, image: NewImage) -> Result<(Record, bool), IndexError> {
        let (words, sketches) = self.split_codes(image.codes)?;
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
            Some(found) => found.row.next_version(now),
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
        self.read_pages(sequence)?;
        let old_original = before.as_ref().and_then(|found| found.row.original);
        self.originals
            .replace(&self.db, old_original, image.original)?;

        let created = before.is_none();
        if created {
            self.state.next += 1;
            self.state.images += 1;
            self.state.marks = self.state.marks.wrapping_add(mark(sequence, &image.id));
        }
        let had_payload = before.as_ref().is_some_and(|found| found.row.payload);
        self.staged
            .save_payload(sequence, json.zip(payload.clone()), had_payload);
        self.staged
            .sequences
            .insert(image.id.clone(), Some(sequence));
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
        self.stage_row(sequence, &record.id, before, Some((row, words)))?;
        for (side, sketch) in sketches.into_iter().enumerate() {
            self.stage_sketch(side, sequence, sketch)?;
        }
        Ok((record, created))
    }

    /// Changes labels, payload or both; returns `None` if there is no such image.
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
        (row.version, row.updated_after_ms) = row.next_version(at_ms);
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
        self.stage_row(sequence, &record.id, Some(before), Some((row, words)))?;
        Ok(Some(record))
    }

    /// Deletes an image. Returns true if it existed.
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
        self.stage_row(sequence, &id, Some(before), None)?;
        for side in 0..self.sides.len() {
            self.stage_sketch(side, sequence, None)?;
        }
        self.staged.sequences.insert(id, None);
        Ok(true)
    }

    /// Opens a block of original keys, all of them unreferenced, and returns its number.
    pub fn open_block(&mut self) -> u64 {
        let block = self.state.blocks;
        self.state.blocks += 1;
        self.originals.open(block);
        block
    }

    /// Records that the originals of these unreferenced keys are removed.
    pub fn forget_originals(&mut self, keys: &[OriginalKey]) -> Result<(), IndexError> {
        let db = &self.db;
        keys.iter()
            .try_for_each(|key| self.originals.forget(db, *key))
    }

    /// Splits codes and sketches by generation. Those of the active generation are required.
    fn split_codes(&self, codes: Vec<Codes>) -> Result<Coded, IndexError> {
        let view = &self.staged.view;
        let coded = view.sides().map(|side| {
            let generation = &side.generation;
            let own = |codes: &&Codes| codes.generation == generation.number;
            let Some(Codes { codes, sketch, .. }) = codes.iter().find(own) else {
                return Ok((None, None));
            };
            generation.check_lengths(codes)?;
            let words = codes.iter().map(HashCode::word).collect();
            Ok((
                Some(words),
                generation.checked_sketch(sketch.as_ref())?.cloned(),
            ))
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

/// Encodes a payload as JSON and checks that it reads back: the reader limits nesting, the writer
/// does not.
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
