//! Commits a group: one sled batch with its pages, names, summary, generations and fields, its
//! segments published to readers, then a flush. Also resumes a commit that failed.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::{
    disk::{engine, key::Key, page, sketch_page, state::State},
    memory::segment::{Change, Segment},
    types::{
        error::{Damage, IndexError},
        id::OriginalKey,
    },
    view::{
        generations::{Added, View},
        store::Store,
    },
    write::group::Group,
};

/// The time between checks of a flush that has not returned.
const FLUSH_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Makes the view after the commit from the view before it.
type Publish = Box<dyn FnOnce(&View) -> View + Send>;

/// A group that is ready to be written.
pub struct Commit {
    batch: engine::Batch,
    bytes: u64,
    after: State,
    /// `None` once readers see the commit.
    publish: Option<Publish>,
    /// The originals that become unreferenced.
    released: Vec<OriginalKey>,
}

impl Commit {
    /// The approximate number of bytes that it writes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns true if readers already see it. It must then be stored.
    pub fn is_published(&self) -> bool {
        self.publish.is_none()
    }

    /// Makes the commit visible, then durable, and returns the summary after it. The tree and the
    /// view change together under the gate; the slow flush happens outside it.
    ///
    /// # Errors
    /// [`IndexError::Store`]. Part of the commit may then be stored and visible until sled is
    /// opened again.
    pub fn write(&mut self, store: &Store) -> Result<State, IndexError> {
        store.change(self.batch.clone(), &mut self.publish)?;
        self.complete(store)
    }

    /// Resumes a failed [`write`](Self::write) after sled was opened again.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], [`Store`](IndexError::Store), [`Corrupt`](IndexError::Corrupt) if
    /// earlier commits are lost.
    pub fn resume(&mut self, store: &Store) -> Result<State, IndexError> {
        let stored = State::read(&*store.db()?)?.unwrap_or_default().commit;
        match self.after.commit.checked_sub(stored) {
            Some(0) => {
                store.change(engine::Batch::default(), &mut self.publish)?;
                self.complete(store)
            }
            Some(1) => {
                store.disk_space.reserve(self.bytes)?;
                self.write(store)
            }
            _ => Err(Damage::lost_commits(self.after.commit - 1, stored).into()),
        }
    }

    fn complete(&mut self, store: &Store) -> Result<State, IndexError> {
        flush(&*store.db()?)?;
        let acknowledged = store.acknowledged.set(self.after.commit);
        acknowledged.map_err(engine::Error::from)?;
        store.release(std::mem::take(&mut self.released));
        Ok(self.after)
    }
}

/// Flushes sled. If one of sled's threads fails to write, the first `flush` may never return; a
/// second call wakes it.
fn flush(db: &engine::Db) -> Result<(), IndexError> {
    let (send, flushed) = mpsc::channel();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("index-flush".to_owned());
        let flush = move || {
            let _ = send.send(db.flush());
        };
        thread
            .spawn_scoped(scope, flush)
            .map_err(engine::Error::from)?;
        loop {
            match flushed.recv_timeout(FLUSH_CHECK_INTERVAL) {
                Ok(flushed) => return Ok(flushed.map(drop)?),
                Err(mpsc::RecvTimeoutError::Timeout) => drop(db.flush()),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let panicked = io::Error::other("sled panicked");
                    return Err(engine::Error::from(panicked).into());
                }
            }
        }
    })
}

impl Group<'_> {
    /// Prepares the group to be written; returns `None` if it changes nothing.
    ///
    /// # Errors
    /// [`IndexError::Encode`].
    pub fn into_commit(mut self) -> Result<Option<Commit>, IndexError> {
        for repair in std::mem::take(&mut self.staged.repairs) {
            self.change_words(repair.sequence, repair.field, &[], &repair.words);
        }
        let unchanged = self.sides.iter().all(|side| side.changes.is_empty());
        // A failed write may have numbered a name. The number is remembered, so it must be stored.
        let unnamed = self.staged.next_name() == self.state.names;
        let idle =
            unchanged && unnamed && self.originals.is_empty() && self.layout_change.is_none();
        if idle && self.purged == 0 && self.applied.is_none() {
            return Ok(None);
        }
        let mut bytes = self.staged.bytes;
        let mut put = |batch: &mut engine::Batch, key: Vec<u8>, page: Option<Vec<u8>>| match page {
            Some(page) => {
                bytes += key.len() + page.len();
                batch.insert(key, page);
            }
            None => batch.remove(key),
        };
        for (number, page) in &self.staged.rows {
            let bytes = (!page.is_empty()).then(|| page::encode(page)).transpose()?;
            put(&mut self.staged.batch, Key::Rows(*number).to_bytes(), bytes);
        }
        let view = self.staged.view.clone();
        for (side, pages) in view.sides().zip(&self.staged.codes) {
            let generation = &side.generation;
            for (number, page) in pages {
                let encode = || page::encode_codes(page, &generation.lengths);
                let bytes = (!page.is_empty()).then(encode);
                put(&mut self.staged.batch, generation.codes_key(*number), bytes);
            }
        }
        for (side, pages) in view.sides().zip(&self.staged.sketches) {
            for (number, page) in pages {
                let bytes = (!page.is_empty()).then(|| sketch_page::encode(page));
                let key = side.generation.sketches_key(*number);
                put(&mut self.staged.batch, key, bytes);
            }
        }
        for (field, pages) in self.staged.fields.iter().zip(&self.staged.values) {
            for (number, page) in pages.iter().filter(|(_, page)| page.is_changed) {
                let words = &page.words;
                let bytes = (!words.is_empty())
                    .then(|| page::encode(words))
                    .transpose()?;
                put(&mut self.staged.batch, field.values_key(*number), bytes);
            }
        }
        self.state.commit += 1;
        self.state.names = self.staged.next_name();
        self.state.write(&mut self.staged.batch)?;
        if let Some(applied) = self.applied {
            let key = Key::Position.to_bytes();
            self.staged.batch.insert(key, applied.to_bytes());
        }
        let broken = view.broken + self.broken;
        if self.broken > 0 {
            let key = Key::Broken.to_bytes();
            self.staged.batch.insert(key, &broken.to_be_bytes());
        }
        if let Some(layout_change) = &self.layout_change {
            layout_change.write(&mut self.staged.batch);
        }
        let released = self.originals.write(&mut self.staged.batch)?;
        let segments = view.sides().zip(self.sides).map(|(side, changed)| {
            let directory = &side.directory;
            let segment = Segment::from_changes(directory.kinds(), &changed.changes);
            let distinct = directory.distinct_after(&segment);
            // No filter tests a field that is not built.
            let is_seen = |change: &Change| match change.only_field {
                Some(field) => directory
                    .fields()
                    .get(field)
                    .is_some_and(|field| field.built),
                None => false,
            };
            let is_known = !changed.changes.iter().any(is_seen);
            let changes = changed.changes.into_iter();
            let whole = changes.filter(|change| change.only_field.is_none());
            Added {
                segment: Arc::new(segment),
                distinct,
                changed: is_known.then(|| {
                    whole
                        .map(|change| (change.sequence, change.after))
                        .collect()
                }),
                sketches: changed.sketches,
                counts: changed.counts,
            }
        });
        let segments: Vec<_> = segments.filter(|_| !unchanged).collect();
        let images = self.state.images;
        let (changed_at, layout_change) = (self.changed_at, self.layout_change);
        let publish: Publish = Box::new(move |now| {
            let mut after = now.after(segments, images);
            after.commit = changed_at.unwrap_or(now.commit);
            after.broken = broken;
            match layout_change {
                Some(layout_change) => layout_change.of(&after),
                None => after,
            }
        });
        Ok(Some(Commit {
            batch: self.staged.batch,
            bytes: bytes as u64,
            after: self.state,
            publish: Some(publish),
            released,
        }))
    }
}
