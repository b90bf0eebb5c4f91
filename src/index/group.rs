//! A group of writes that is committed as one: each is staged over those before it, then all are applied in one batch.
//! Knows what a write does to row, codes, payload, names of originals and directory; nothing of who waits for it.

mod staged;

use std::{
    sync::{Arc, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::code::HashCode;

use super::{
    NewImage,
    error::IndexError,
    key::Key,
    names::Names,
    original::{self, Original},
    page::{self, Words},
    record::{ImageId, PackedId, Record, Row, encode_payload},
    segment::{Change, Entry, Segment},
    state::{State, mark},
    store::Store,
};

use staged::{Found, Staged};

/// Writes staged and not yet committed. One that fails leaves nothing behind.
pub struct Group<'a> {
    store: &'a Store,
    state: State,
    staged: Staged<'a>,
    changes: Vec<Change>,
    originals: original::Changes,
}

impl<'a> Group<'a> {
    /// An empty group, after the commits that `state` tells of.
    pub fn new(store: &'a Store, names: &'a mut Names, state: State) -> Self {
        Group {
            store,
            state,
            staged: Staged::new(store, names),
            changes: Vec::new(),
            originals: original::Changes::default(),
        }
    }

    /// The size of the payloads staged.
    pub fn bytes(&self) -> usize {
        self.staged.bytes
    }

    /// Inserts or replaces an image, and tells whether it is new. A replaced one keeps its age.
    pub fn put(&mut self, image: NewImage) -> Result<(Record, bool), IndexError> {
        let before = self.staged.find(&image.id)?;
        let payload = image.payload.filter(|payload| !payload.is_null());
        let json = payload.as_ref().map(encode_payload).transpose()?;
        let sequence = before
            .as_ref()
            .map_or(self.state.next, |found| found.sequence);
        if sequence == u32::MAX {
            return Err(IndexError::Full);
        }
        let now = now_ms();
        let created_at_ms = before.as_ref().map_or(now, |found| found.row.created_at_ms);
        let row = Row {
            id: PackedId::from(&image.id),
            version: before
                .as_ref()
                .map_or(0, |found| found.row.version.wrapping_add(1)),
            payload: json.is_some(),
            labels: self.staged.numbers(&image.labels)?,
            media_type: self.staged.number(&image.media_type)?,
            bytes: image.bytes,
            original: image.original,
            created_at_ms,
            updated_after_ms: now.saturating_sub(created_at_ms),
        };
        let words: Words = image.codes.iter().map(HashCode::word).collect();
        let (number, _) = page::place(sequence);
        self.staged.rows(number)?;
        self.staged.codes(number)?;
        let had = before.as_ref().and_then(|found| found.row.original);
        self.originals
            .replace(&self.store.db, had, image.original)?;

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
            codes: image.codes,
            labels: image.labels,
            payload,
            media_type: image.media_type,
            bytes: row.bytes,
            original: row.original,
            created_at_ms,
            updated_at_ms: now,
        };
        self.change(sequence, &record.id, before, Some((row, words)))?;
        Ok((record, created))
    }

    /// Changes labels, payload or both; `None` where there is no such image.
    pub fn patch(
        &mut self,
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
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
                row.labels = self.staged.numbers(&labels)?;
                labels
            }
            None => self.staged.named(&row.labels)?,
        };
        let media_type = self.staged.named(&[row.media_type])?.concat();
        row.version = row.version.wrapping_add(1);
        row.payload = json.is_some();
        row.updated_after_ms = now_ms().saturating_sub(row.created_at_ms);
        let words = before.words.clone();
        self.staged
            .save_payload(sequence, json.zip(payload.clone()), before.row.payload);
        let record = Record {
            codes: self.store.generation.codes(&words),
            labels,
            payload,
            media_type,
            bytes: row.bytes,
            original: row.original,
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.created_at_ms + row.updated_after_ms,
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
            .replace(&self.store.db, before.row.original, None)?;
        self.staged.save_payload(sequence, None, before.row.payload);
        self.state.images -= 1;
        self.state.marks = self.state.marks.wrapping_sub(mark(sequence, &id));
        self.change(sequence, &id, Some(before), None)?;
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
    pub fn forget(&mut self, names: &[Original]) -> Result<(), IndexError> {
        let db = &self.store.db;
        names
            .iter()
            .try_for_each(|name| self.originals.forget(db, *name))
    }

    /// Makes all of it visible at once, then durable, and tells the summary after it. The tree and the directory change
    /// together for whoever holds the gate; the flush, which is slow, happens outside it.
    pub fn commit(mut self) -> Result<State, IndexError> {
        if self.changes.is_empty() && self.originals.is_empty() {
            return Ok(self.state);
        }
        let put = |batch: &mut sled::Batch, key, page: Option<Vec<u8>>| match page {
            Some(page) => batch.insert(key, page),
            None => batch.remove(key),
        };
        for (number, page) in &self.staged.rows {
            let bytes = (!page.is_empty()).then(|| page::encode(page)).transpose()?;
            put(&mut self.staged.batch, Key::Rows(*number).to_bytes(), bytes);
        }
        let lengths = &self.store.generation.lengths;
        for (number, page) in &self.staged.codes {
            let bytes = (!page.is_empty()).then(|| page::encode_codes(page, lengths));
            put(&mut self.staged.batch, self.store.codes_key(*number), bytes);
        }
        self.state.commit += 1;
        self.state.names = self.staged.next_name();
        self.state.write(&mut self.staged.batch)?;
        let released = self.originals.write(&mut self.staged.batch)?;
        let directory = self.store.directory();
        let segment = Arc::new(Segment::from_changes(directory.kinds(), &self.changes));
        let distinct = directory.distinct_after(&segment);
        let images = self.state.images;
        {
            let _gate = self
                .store
                .gate
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            self.store.db.apply_batch(self.staged.batch)?;
            self.store
                .publish(|now| now.with(segment, distinct, images));
        }
        self.store.db.flush()?;
        let acknowledged = self.store.acknowledged.set(self.state.commit);
        acknowledged.map_err(sled::Error::from)?;
        self.store.release(released);
        Ok(self.state)
    }

    /// Puts an image's row and codes into their pages, or takes them out, and notes the change for the directory.
    fn change(
        &mut self,
        sequence: u32,
        id: &ImageId,
        before: Option<Found>,
        after: Option<(Row, Words)>,
    ) -> Result<(), IndexError> {
        let (number, slot) = page::place(sequence);
        let hash = self.store.hash(id);
        let entry = |row: &Row, codes| Entry {
            codes,
            labels: row.labels.clone(),
            id: hash,
        };
        self.changes.push(Change {
            sequence,
            before: before.map(|Found { row, words, .. }| entry(&row, words)),
            after: after.as_ref().map(|(row, words)| entry(row, words.clone())),
        });
        match after {
            Some((row, words)) => {
                self.staged.rows(number)?.insert(slot, row);
                self.staged.codes(number)?.insert(slot, words);
            }
            None => {
                self.staged.rows(number)?.remove(&slot);
                self.staged.codes(number)?.remove(&slot);
            }
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
