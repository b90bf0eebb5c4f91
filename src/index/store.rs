//! The opened store: sled, the active generation and the directory, and reading typed things out of them.
//! Writes nothing but a new store's first batch; knows no threads and no queries.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    thread,
    time::Duration,
};

use crate::code::HashCode;

use super::{
    IndexConfig,
    directory::{Change, Directory, Entry},
    error::IndexError,
    generation::Generation,
    key::{self, Key},
    migrate,
    page::{self, Page},
    record::{Content, ImageId, Stored},
};

/// See the module.
pub struct Store {
    /// sled's default tree.
    pub db: sled::Db,
    /// What the codes are.
    pub generation: Generation,
    directory: RwLock<Directory>,
}

impl Store {
    /// Opens or makes a store, and tells the first sequence number that is free.
    ///
    /// # Errors
    /// All that say why the folder cannot be used; [`IndexError::Corrupt`] where its parts do not agree.
    pub fn open(config: IndexConfig) -> Result<(Self, u64), IndexError> {
        let wanted = Generation::first(config.model.clone(), &config.lengths)?;
        let db = open_sled(config)?;
        let generation = if migrate::check(&db)? {
            let stored = Generation::read(&db)?;
            stored.check(&wanted)?;
            stored
        } else {
            let mut batch = sled::Batch::default();
            migrate::stamp(&mut batch);
            wanted.write(&mut batch);
            db.apply_batch(batch)?;
            db.flush()?;
            wanted
        };
        let directory = RwLock::new(Directory::new(&generation.lengths));
        let store = Store {
            db,
            generation,
            directory,
        };
        let next = store.load()?;
        Ok((store, next))
    }

    /// Fills the directory: codes from the pages, labels from the records, which must speak of the same images.
    fn load(&self) -> Result<u64, IndexError> {
        let mut directory = self.directory_mut();
        let (mut next, mut paged, mut recorded) = (0, Roll::default(), Roll::default());
        for item in self.db.scan_prefix(key::pages(self.generation.number)) {
            let (key, value) = item?;
            let number = match Key::from_bytes(&key) {
                Some(Key::Page { number, .. }) => number,
                _ => return Err(corrupt("a code page", "its key is malformed")),
            };
            for (slot, entry) in self.decode(number, &value)?.0 {
                let sequence = page::sequence(number, slot)
                    .filter(|sequence| *sequence < u64::MAX)
                    .ok_or_else(|| self.page_corrupt(number, "its number is too high"))?;
                next = sequence + 1;
                paged.add(sequence, &entry.id);
                let labels = Vec::new();
                let codes = entry.codes;
                directory.apply(&Change {
                    sequence,
                    before: None,
                    after: Some(Entry { codes, labels }),
                });
            }
        }
        for item in self.db.range(key::records(None)) {
            let (key, value) = item?;
            let id = record_id(&key)?;
            let stored = decode_record(&id, &value)?;
            recorded.add(stored.sequence, &id);
            for label in &stored.labels {
                directory.label(label, stored.sequence);
            }
        }
        if paged != recorded {
            let why = format!(
                "{} have codes and {} have records, not the same ones",
                paged.count, recorded.count
            );
            return Err(corrupt("the list of images", &why));
        }
        Ok(next)
    }

    /// The directory, standing still. While it is held no commit shows, so reads of several keys see one state.
    pub fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory, to be changed together with the tree.
    pub fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of an image.
    pub fn record(&self, id: &ImageId) -> Result<Option<Stored>, IndexError> {
        let value = self.db.get(Key::Record(id.as_str()).to_bytes())?;
        value.map(|value| decode_record(id, &value)).transpose()
    }

    /// At most `limit` records after an id, in order of id.
    pub fn records(
        &self,
        after: Option<&ImageId>,
        limit: usize,
    ) -> Result<Vec<(ImageId, Stored)>, IndexError> {
        let range = self.db.range(key::records(after.map(ImageId::as_str)));
        let read = |item: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = item?;
            let id = record_id(&key)?;
            let stored = decode_record(&id, &value)?;
            Ok((id, stored))
        };
        range.take(limit).map(read).collect()
    }

    /// The original of an image.
    pub fn content(&self, id: &ImageId) -> Result<Option<Content>, IndexError> {
        let value = self.db.get(Key::Content(id.as_str()).to_bytes())?;
        let malformed = || corrupt(&format!("the original of image {id}"), "it is malformed");
        value
            .map(|value| Content::decode(value).ok_or_else(malformed))
            .transpose()
    }

    /// A page of codes; empty where there is none.
    pub fn page(&self, number: u64) -> Result<Page, IndexError> {
        match self.db.get(self.page_key(number))? {
            Some(value) => self.decode(number, &value),
            None => Ok(Page::default()),
        }
    }

    /// The key of a page of the active generation.
    pub fn page_key(&self, number: u64) -> Vec<u8> {
        let generation = self.generation.number;
        Key::Page { generation, number }.to_bytes()
    }

    /// The codes that a page holds of a record's image.
    pub fn codes(
        &self,
        page: &Page,
        id: &ImageId,
        stored: &Stored,
    ) -> Result<Vec<HashCode>, IndexError> {
        let (number, slot) = page::place(stored.sequence);
        match page.0.get(&slot) {
            Some(entry) if entry.id == *id => Ok(entry.codes.clone()),
            _ => Err(self.page_corrupt(number, &format!("it lacks the codes of image {id}"))),
        }
    }

    /// That a page is damaged.
    pub fn page_corrupt(&self, number: u64, why: &str) -> IndexError {
        corrupt(
            &format!(
                "code page {number} of generation {}",
                self.generation.number
            ),
            why,
        )
    }

    fn decode(&self, number: u64, value: &[u8]) -> Result<Page, IndexError> {
        Page::decode(value, &self.generation.lengths).map_err(|why| self.page_corrupt(number, why))
    }
}

/// A fingerprint of a set of images, whatever their order, so that two passes need not be held side by side.
#[derive(Default, PartialEq)]
struct Roll {
    count: u64,
    sum: u64,
}

impl Roll {
    fn add(&mut self, sequence: u64, id: &ImageId) {
        let mut hasher = DefaultHasher::new();
        (sequence, id).hash(&mut hasher);
        self.count += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

/// sled may let go of its lock a moment after its last handle is dropped, so a held lock is given that moment.
fn open_sled(config: IndexConfig) -> Result<sled::Db, IndexError> {
    let IndexConfig {
        path, cache_bytes, ..
    } = config;
    let sled_config = sled::Config::new()
        .path(&path)
        .cache_capacity(cache_bytes)
        .flush_every_ms(None);
    let locked = |error: &sled::Error| error.to_string().contains("could not acquire lock");
    let mut patience = 10;
    loop {
        match sled_config.open() {
            Ok(db) => return Ok(db),
            Err(source) if locked(&source) && patience == 0 => {
                return Err(IndexError::InUse { path, source });
            }
            Err(source) if !locked(&source) => return Err(IndexError::Open { path, source }),
            Err(_) => thread::sleep(Duration::from_millis(30)),
        }
        patience -= 1;
    }
}

fn record_id(key: &[u8]) -> Result<ImageId, IndexError> {
    match Key::from_bytes(key) {
        Some(Key::Record(id)) => id.parse(),
        _ => Err(corrupt("a record", "its key is malformed")),
    }
}

fn decode_record(id: &ImageId, value: &[u8]) -> Result<Stored, IndexError> {
    serde_json::from_slice(value)
        .map_err(|error| corrupt(&format!("the record of image {id}"), &error.to_string()))
}

fn corrupt(what: &str, why: &str) -> IndexError {
    IndexError::Corrupt {
        what: what.to_owned(),
        why: why.to_owned(),
    }
}
