//! The open store: sled, the view that readers see, and typed reads of sled's entries.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::{
        self, Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    disk::{
        engine::{self, Database, disk_space::DiskSpace},
        fields::{self, Words},
        key::Key,
        page::{self, CodeWords, Page},
        row::Row,
        sketch_page,
        state::Acknowledged,
    },
    memory::{directory::Directory, segment::Segment},
    types::{
        error::{Damage, IndexError},
        field::Field,
        generation::Generation,
        id::{ImageId, OriginalKey},
        sketch::Sketch,
    },
    view::generations::View,
};

/// An open store.
pub struct Store {
    pub(crate) database: Database,
    /// The space on its disk.
    pub disk_space: DiskSpace,
    /// True if it follows a log.
    pub follows: bool,
    /// The damage found when it was opened.
    pub damage: Vec<Damage>,
    /// The part of that damage which a later check cannot find, because the next commit overwrites
    /// the number of acknowledged ones.
    pub lost_commits: Option<Damage>,
    /// The file with the number of acknowledged commits.
    pub acknowledged: Acknowledged,
    /// True if an earlier run allocated original keys.
    pub had_originals: bool,
    /// Its id, which no other store has.
    pub id: Uuid,
    /// Sends original keys that have become unreferenced.
    pub(crate) released: mpsc::UnboundedSender<OriginalKey>,
    /// Receives these keys, until it is handed out.
    pub released_receiver: Mutex<Option<mpsc::UnboundedReceiver<OriginalKey>>>,
    /// Held for every change of tree and view together. A reader that holds it sees both before or
    /// both after a change. It is the standard library's lock, whose readers may overtake a waiting
    /// writer. With parking_lot's, which blocks them, the slowest searches during inserts take four
    /// times as long.
    pub gate: sync::RwLock<()>,
    /// Counts the starts and ends of changes made under the gate.
    pub(crate) change_count: AtomicU64,
    pub(crate) view: RwLock<Arc<View>>,
    pub(crate) hasher: RandomState,
}

impl Store {
    /// Returns sled's default tree. Drop it soon: sled cannot be reopened while it is held.
    ///
    /// # Errors
    /// [`IndexError::Reopening`].
    pub fn db(&self) -> Result<Arc<engine::Db>, IndexError> {
        self.database.get()
    }

    /// The database, for reopening it.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Changes the tree and the view together. Takes `publish` on success; it may have been taken
    /// before. A reader sees both before or both after the change if it holds the gate, or if the
    /// [change count](Self::change_count) is the same at the end of its read.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Reopening`](IndexError::Reopening).
    pub fn change(
        &self,
        batch: engine::Batch,
        publish: &mut Option<impl FnOnce(&View) -> View>,
    ) -> Result<(), IndexError> {
        let db = self.db()?;
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.change_count.fetch_add(1, Ordering::SeqCst);
        let applied = db.apply_batch(batch);
        match (&applied, publish.take_if(|_| applied.is_ok())) {
            (Ok(()), Some(publish)) => self.publish(publish),
            (Ok(()), None) => {}
            // Marked before anyone can read a partly applied batch.
            (Err(_), _) => self.database.mark_failed(),
        }
        self.change_count.fetch_add(1, Ordering::SeqCst);
        Ok(applied?)
    }

    /// A counter that is odd during a change, and that every change increases.
    pub fn change_count(&self) -> u64 {
        self.change_count.load(Ordering::SeqCst)
    }

    /// Releases original keys for removal.
    pub fn release(&self, names: impl IntoIterator<Item = OriginalKey>) {
        for name in names {
            // Without a receiver the keys stay unreferenced.
            let _ = self.released.send(name);
        }
    }

    /// The current view.
    pub fn view(&self) -> Arc<View> {
        let view = self.view.read();
        view.clone()
    }

    /// Replaces the current view. `change` must be quick, because readers wait.
    pub fn publish(&self, change: impl FnOnce(&View) -> View) {
        let mut view = self.view.write();
        let after = Arc::new(change(&view));
        let before = std::mem::replace(&mut *view, after);
        drop(view);
        // Memory that only the old view held is freed after the lock.
        drop(before);
    }

    /// Merges neighbouring segments of a directory, chosen by `choose`, and returns the replaced
    /// ones. Several threads may call this at once if they never choose the same segments.
    pub fn merge(
        &self,
        choose: impl Fn(&[Arc<Segment>]) -> Option<Range<usize>>,
    ) -> Option<Vec<Arc<Segment>>> {
        self.view().sides().find_map(|side| {
            let directory: &Directory = &side.directory;
            let parts = (directory.segments()).get(choose(directory.segments())?)?;
            let merged = Arc::new(Segment::merge(directory.kinds(), parts));
            let number = side.generation.number;
            self.publish(|now| now.changed(number, |now| now.merged(parts, merged)));
            Some(parts.to_vec())
        })
    }

    /// The hash of an id in the directory. It differs between processes.
    pub fn hash(&self, id: &ImageId) -> u32 {
        hash(&self.hasher, id)
    }

    /// Reads a row page; empty if it does not exist.
    pub fn rows(db: &engine::Tree, number: u32) -> Result<Page<Row>, IndexError> {
        match db.get(Key::Rows(number).to_bytes())? {
            Some(value) => page::decode(&value).map_err(|why| Damage::rows(number, why).into()),
            None => Ok(Page::new()),
        }
    }

    /// Reads the payload of an image that has one.
    pub fn payload(db: &engine::Tree, sequence: u32) -> Result<serde_json::Value, IndexError> {
        let value = db.get(Key::Payload(sequence).to_bytes())?;
        let value = value.ok_or_else(|| Damage::payload(sequence, "it is missing"))?;
        Store::decode_payload(sequence, &value)
    }

    /// Decodes the stored form of the payload of an image.
    pub fn decode_payload(sequence: u32, sealed: &[u8]) -> Result<serde_json::Value, IndexError> {
        let json = page::open(sealed).map_err(|why| Damage::payload(sequence, why))?;
        let payload = serde_json::from_slice(json);
        Ok(payload.map_err(|error| Damage::payload(sequence, &error.to_string()))?)
    }

    /// Reads a code page; empty if it does not exist.
    pub fn codes(
        db: &engine::Tree,
        generation: &Generation,
        page: u32,
    ) -> Result<Page<CodeWords>, IndexError> {
        match db.get(generation.codes_key(page))? {
            Some(value) => page::decode_codes(&value, &generation.lengths)
                .map_err(|why| Damage::codes(page, generation.number, why).into()),
            None => Ok(Page::new()),
        }
    }

    /// Reads a values page; empty if it does not exist.
    pub fn values(db: &engine::Tree, field: &Field, page: u32) -> Result<Page<Words>, IndexError> {
        match db.get(field.values_key(page))? {
            Some(value) => {
                fields::decode(&value).map_err(|why| Damage::values(page, &field.path, why).into())
            }
            None => Ok(Page::new()),
        }
    }

    /// Reads a sketch page; empty if it does not exist or is damaged. A write then overwrites the
    /// damaged page.
    pub fn sketches(
        db: &engine::Tree,
        generation: &Generation,
        page: u32,
    ) -> Result<Page<Sketch>, IndexError> {
        let value = db.get(generation.sketches_key(page))?;
        let width = generation.sketch.unwrap_or_default();
        let decode = |value: engine::IVec| sketch_page::decode(&value, width);
        match value.map_or(Ok(Page::new()), decode) {
            Ok(page) => Ok(page),
            Err(why) => {
                let damage = Damage::sketches(page, generation.number, why);
                tracing::error!(%damage, "a sketch page is damaged; it is overwritten and its sketches are lost");
                Ok(Page::new())
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low 32 bits are the hash"
)]
pub fn hash(hasher: &RandomState, id: &ImageId) -> u32 {
    hasher.hash_one(id) as u32
}
