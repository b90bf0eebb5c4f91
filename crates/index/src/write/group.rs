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
        filter::condition::Condition,
        id::{self, ImageId, OriginalKey},
        record::{Codes, NewImage, Record, Times},
        sketch::Sketch,
    },
    view::{
        generations::{Counts, GenerationView},
        store::Store,
    },
    write::{
        layout::LayoutChange,
        staged::{NewState, Staged, StoredImage},
    },
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
    pub(super) layout_change: Option<LayoutChange>,
    /// The filter of the last precondition that had one.
    pub(super) last_filter: Option<(String, Condition)>,
    /// The number of pages of discarded generations and deleted fields that it removes.
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
            layout_change: None,
            last_filter: None,
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

    /// Returns true if it changes generations or fields. Later writes need a new group, because
    /// they need the view after the change.
    pub fn changes_layout(&self) -> bool {
        self.layout_change.is_some()
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
        let values = self.staged.words_of_all(payload.as_ref())?;
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
        self.staged.save_payload(sequence, json, had_payload);
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
        let after = NewState { row, words, values };
        self.stage_row(sequence, &record.id, before, Some(after))?;
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
        match self.staged.find(&id)? {
            Some(before) => self.change(id, before, labels, payload, at_ms).map(Some),
            None => Ok(None),
        }
    }

    /// Changes labels and merges a patch into the payload; returns `None` if there is no such
    /// image.
    pub fn merge(
        &mut self,
        id: ImageId,
        labels: LabelChange,
        patch: Option<Value>,
        at_ms: u64,
    ) -> Result<Option<Record>, IndexError> {
        let Some(before) = self.staged.find(&id)? else {
            return Ok(None);
        };
        let labels = match labels {
            LabelChange {
                replace,
                add,
                remove,
            } if add.is_empty() && remove.is_empty() => replace,
            LabelChange {
                replace,
                add,
                remove,
            } => {
                let mut labels = match replace {
                    Some(labels) => id::labels(labels),
                    None => self.staged.named(&before.row.labels)?,
                };
                let remove = id::labels(remove);
                labels.retain(|label| !remove.contains(label));
                labels.extend(add);
                Some(labels)
            }
        };
        let payload = match patch {
            Some(patch) => {
                let old = self.staged.payload(before.sequence, &before.row)?;
                let is_new = old.is_none();
                let merged = merge_patch(old.unwrap_or_else(empty_object), patch);
                Some(Some(merged).filter(|merged| !is_new || *merged != empty_object()))
            }
            None => None,
        };
        self.change(id, before, labels, payload, at_ms).map(Some)
    }

    fn change(
        &mut self,
        id: ImageId,
        before: StoredImage,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
        at_ms: u64,
    ) -> Result<Record, IndexError> {
        let sequence = before.sequence;
        let payload = match payload {
            Some(payload) => payload.filter(|payload| !payload.is_null()),
            None => self.staged.payload(sequence, &before.row)?,
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
        let values = self.staged.words_of_all(payload.as_ref())?;
        let sketch = self.staged.sketch(0, sequence)?;
        self.staged.save_payload(sequence, json, before.row.payload);
        let record = Record {
            codes: self.active_codes(&words),
            sketch,
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
        let after = NewState { row, words, values };
        self.stage_row(sequence, &record.id, Some(before), Some(after))?;
        Ok(record)
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

/// A change of labels: a replacement, then labels that are removed, then some that are added.
pub struct LabelChange {
    /// The new labels; `None` keeps the labels.
    pub replace: Option<Vec<String>>,
    /// Labels to add.
    pub add: Vec<String>,
    /// Labels to remove.
    pub remove: Vec<String>,
}

fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Applies a JSON merge patch (RFC 7396).
pub fn merge_patch(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch;
    };
    let mut members = match target {
        Value::Object(members) => members,
        _ => serde_json::Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            let old = members.remove(&name).unwrap_or_default();
            members.insert(name, merge_patch(old, value));
        }
    }
    Value::Object(members)
}

/// The maximum nesting of a payload. The reader of JSON refuses more than 127 levels.
const MAX_NESTING: usize = 127;

/// Encodes a payload as JSON and checks that it reads back: the reader limits nesting, the writer
/// does not.
pub(crate) fn encode_payload(payload: &Value) -> Result<Vec<u8>, IndexError> {
    if !is_within(payload, MAX_NESTING) {
        return Err(IndexError::Payload);
    }
    // A value is always encoded.
    serde_json::to_vec(payload).map_err(|_| IndexError::Payload)
}

/// Returns true if a value has at most this number of nested arrays and objects.
fn is_within(value: &Value, levels: usize) -> bool {
    let next = levels.checked_sub(1);
    let fits = |inner: &Value| next.is_some_and(|levels| is_within(inner, levels));
    match value {
        Value::Array(elements) => next.is_some() && elements.iter().all(fits),
        Value::Object(members) => next.is_some() && members.values().all(fits),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The examples of RFC 7396, appendix A.
    #[test]
    fn merge_patches_do_what_the_rfc_says() {
        for (target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!([1, 2]),
                json!({"a": "b", "c": null}),
                json!({"a": "b"}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            assert_eq!(merge_patch(target, patch), expected);
        }
    }

    #[test]
    fn a_payload_too_deep_to_read_back_is_refused() {
        let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        for depth in 100..140 {
            let json = serde_json::to_vec(&nested(depth)).unwrap();
            let is_readable = serde_json::from_slice::<Value>(&json).is_ok();
            assert_eq!(
                encode_payload(&nested(depth)).is_ok(),
                is_readable,
                "{depth}"
            );
        }
    }
}
