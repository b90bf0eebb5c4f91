//! A group of writes that is committed as one: each is staged over those before it, then all are applied in one batch.
//! Knows what a write does to record, original, page and directory; nothing of who waits for it.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::code::HashCode;

use super::{
    NewImage,
    directory::{Change, Entry},
    error::IndexError,
    key::Key,
    page::{self, Page, Slot},
    record::{ImageId, Record, Stored},
    store::Store,
};

/// Writes staged and not yet committed. One that fails leaves nothing behind.
pub struct Group<'a> {
    store: &'a Store,
    next: &'a mut u64,
    batch: sled::Batch,
    records: HashMap<ImageId, Option<Stored>>,
    pages: HashMap<u64, Page>,
    changes: Vec<Change>,
    bytes: usize,
}

impl<'a> Group<'a> {
    /// An empty group; new images take sequence numbers from `next` on.
    pub fn new(store: &'a Store, next: &'a mut u64) -> Self {
        Group {
            store,
            next,
            batch: sled::Batch::default(),
            records: HashMap::new(),
            pages: HashMap::new(),
            changes: Vec::new(),
            bytes: 0,
        }
    }

    /// The size of the originals staged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Inserts or replaces an image, and tells whether it is new. A replaced one keeps its age.
    pub fn put(&mut self, image: NewImage) -> Result<(Record, bool), IndexError> {
        let now = now_ms();
        let before = self.find(&image.id)?;
        let stored = Stored {
            sequence: before
                .as_ref()
                .map_or(*self.next, |(stored, _)| stored.sequence),
            labels: image.labels,
            payload: image.payload.filter(|payload| !payload.is_null()),
            bytes: image.content.bytes.len() as u64,
            created_at_ms: before
                .as_ref()
                .map_or(now, |(stored, _)| stored.created_at_ms),
            updated_at_ms: now,
            media_type: image.content.media_type.clone(),
        };
        let json = stored.encode()?;
        let (number, slot) = page::place(stored.sequence);
        let (id, codes) = (image.id.clone(), image.codes.clone());
        self.page(number)?.0.insert(slot, Slot { id, codes });

        let created = before.is_none();
        *self.next += u64::from(created);
        self.bytes += image.content.bytes.len();
        self.batch.insert(
            Key::Content(image.id.as_str()).to_bytes(),
            image.content.encode(),
        );
        self.save(&image.id, before, stored.clone(), image.codes.clone(), json);
        Ok((stored.into_record(image.id, image.codes), created))
    }

    /// Changes labels, payload or both; `None` where there is no such image.
    pub fn patch(
        &mut self,
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
    ) -> Result<Option<Record>, IndexError> {
        let Some(before) = self.find(&id)? else {
            return Ok(None);
        };
        let (mut stored, codes) = before.clone();
        stored.updated_at_ms = now_ms();
        stored.labels = labels.unwrap_or(stored.labels);
        stored.payload = payload
            .unwrap_or(stored.payload)
            .filter(|payload| !payload.is_null());
        let json = stored.encode()?;
        self.save(&id, Some(before), stored.clone(), codes.clone(), json);
        Ok(Some(stored.into_record(id, codes)))
    }

    /// Removes all that is kept of an image, and tells whether there was one.
    pub fn delete(&mut self, id: ImageId) -> Result<bool, IndexError> {
        let Some((stored, codes)) = self.find(&id)? else {
            return Ok(false);
        };
        let (number, slot) = page::place(stored.sequence);
        self.page(number)?.0.remove(&slot);
        self.batch.remove(Key::Record(id.as_str()).to_bytes());
        self.batch.remove(Key::Content(id.as_str()).to_bytes());
        self.records.insert(id, None);
        let labels = stored.labels;
        self.changes.push(Change {
            sequence: stored.sequence,
            before: Some(Entry { codes, labels }),
            after: None,
        });
        Ok(true)
    }

    /// Makes all of it visible at once, then durable. The tree and the directory change under one lock, so that no
    /// reader finds one without the other; the flush, which is slow, happens outside it.
    pub fn commit(mut self) -> Result<(), sled::Error> {
        if self.changes.is_empty() {
            return Ok(());
        }
        for (number, page) in self.pages {
            let key = self.store.page_key(number);
            if page.0.is_empty() {
                self.batch.remove(key);
            } else {
                self.batch.insert(key, page.encode());
            }
        }
        let mut directory = self.store.directory_mut();
        self.store.db.apply_batch(self.batch)?;
        self.changes
            .iter()
            .for_each(|change| directory.apply(change));
        drop(directory);
        self.store.db.flush().map(|_| ())
    }

    /// An image as the writes staged so far leave it.
    fn find(&mut self, id: &ImageId) -> Result<Option<(Stored, Vec<HashCode>)>, IndexError> {
        let stored = match self.records.get(id) {
            Some(staged) => staged.clone(),
            None => self.store.record(id)?,
        };
        let Some(stored) = stored else {
            return Ok(None);
        };
        let store = self.store;
        let codes = store.codes(self.page(page::place(stored.sequence).0)?, id, &stored)?;
        Ok(Some((stored, codes)))
    }

    fn page(&mut self, number: u64) -> Result<&mut Page, IndexError> {
        if !self.pages.contains_key(&number) {
            self.pages.insert(number, self.store.page(number)?);
        }
        Ok(self.pages.entry(number).or_default())
    }

    fn save(
        &mut self,
        id: &ImageId,
        before: Option<(Stored, Vec<HashCode>)>,
        stored: Stored,
        codes: Vec<HashCode>,
        json: Vec<u8>,
    ) {
        let labels = stored.labels.clone();
        self.changes.push(Change {
            sequence: stored.sequence,
            before: before.map(|(Stored { labels, .. }, codes)| Entry { codes, labels }),
            after: Some(Entry { codes, labels }),
        });
        self.batch.insert(Key::Record(id.as_str()).to_bytes(), json);
        self.records.insert(id.clone(), Some(stored));
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
