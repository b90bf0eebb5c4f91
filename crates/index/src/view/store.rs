//! The opened store: sled, what readers see of it at present, and reading typed things out of them.
//! Writes nothing but a new store's first batch; knows no threads and no queries.

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    disk::{
        engine::{self, Database, room::Room},
        key::Key,
        names,
        page::{self, CodeWords, Page},
        row::Row,
        sketch_page,
        state::Acknowledged,
    },
    memory::{directory::Directory, segment::Segment},
    types::{
        error::{Damage, IndexError},
        generation::Generation,
        id::{ImageId, OriginalKey, nfc},
        sketch::Sketch,
    },
    view::generations::View,
};

/// See the module.
pub struct Store {
    pub(crate) database: Database,
    /// Room on the disk that it is on.
    pub room: Room,
    /// Whether it follows a log.
    pub follows: bool,
    /// What was wrong when it was opened.
    pub damage: Vec<Damage>,
    /// How many commits were acknowledged.
    pub acknowledged: Acknowledged,
    /// Whether names were given to originals before it was opened.
    pub named: bool,
    /// Its own id, which no other store has.
    pub id: Uuid,
    /// Where names go that rows have let go of.
    pub(crate) released: mpsc::UnboundedSender<OriginalKey>,
    /// Whoever takes them.
    pub removals: Mutex<Option<mpsc::UnboundedReceiver<OriginalKey>>>,
    /// Held by whoever changes tree and directory together; a reader that holds it sees both before or after.
    pub gate: RwLock<()>,
    /// Counts the beginnings and the ends of changes that are made while the gate is held.
    pub(crate) moment: AtomicU64,
    pub(crate) view: RwLock<Arc<View>>,
    pub(crate) hasher: RandomState,
}

impl Store {
    /// sled's default tree, held while it is used.
    ///
    /// # Errors
    /// [`IndexError::Reopening`].
    pub fn db(&self) -> Result<Arc<engine::Db>, IndexError> {
        self.database.get()
    }

    /// What opens it again.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Changes the tree and the directory together. `publish` is taken if that succeeds, and may have been before. A reader sees both
    /// before the change or both after it if it holds the gate, or if the [moment](Self::moment) is the same at the end of its read.
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
        self.moment.fetch_add(1, Ordering::SeqCst);
        let applied = db.apply_batch(batch);
        match (&applied, publish.take_if(|_| applied.is_ok())) {
            (Ok(()), Some(publish)) => self.publish(publish),
            (Ok(()), None) => {}
            // Before anybody reads what is left of it.
            (Err(_), _) => self.database.fail(),
        }
        self.moment.fetch_add(1, Ordering::SeqCst);
        Ok(applied?)
    }

    /// A number that is odd while a change is under way and is never the same again after one.
    pub fn moment(&self) -> u64 {
        self.moment.load(Ordering::SeqCst)
    }

    /// Tells whoever removes originals that no row has these.
    pub fn release(&self, names: impl IntoIterator<Item = OriginalKey>) {
        for name in names {
            // Where nobody removes any, they stay loose.
            let _ = self.released.send(name);
        }
    }

    /// What there is now.
    pub fn view(&self) -> Arc<View> {
        let view = self.view.read();
        view.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts something else in the place of what is present. What `change` does is quick, for readers wait.
    pub fn publish(&self, change: impl FnOnce(&View) -> View) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let after = Arc::new(change(&view));
        let before = std::mem::replace(&mut *view, after);
        drop(view);
        // What only the old one held is given back after the lock.
        drop(before);
    }

    /// Merges the neighbouring segments of a directory that `choose` picks, if any, and gives those whose place was taken. Several
    /// threads may do so at once as long as they never pick the same.
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

    /// The hash that the directory knows an id by, of its own in each process.
    pub fn hash(&self, id: &ImageId) -> u32 {
        hash(&self.hasher, id)
    }

    /// A page of rows; empty where there is none.
    pub fn rows(db: &engine::Tree, number: u32) -> Result<Page<Row>, IndexError> {
        match db.get(Key::Rows(number).to_bytes())? {
            Some(value) => page::decode(&value).map_err(|why| Damage::rows(number, why).into()),
            None => Ok(Page::new()),
        }
    }

    /// The numbers of those of some labels that have one; no image has any of the others.
    pub fn numbers(db: &engine::Tree, labels: &[String]) -> Result<Vec<u32>, IndexError> {
        let numbers = labels.iter().map(|label| names::number(db, &nfc(label)));
        numbers.filter_map(Result::transpose).collect()
    }

    /// The payload of an image that has one.
    pub fn payload(db: &engine::Tree, sequence: u32) -> Result<serde_json::Value, IndexError> {
        let damaged = |why: &str| Damage {
            what: format!("the payload of the image with sequence number {sequence}"),
            why: why.to_owned(),
        };
        let value = db.get(Key::Payload(sequence).to_bytes())?;
        let value = value.ok_or_else(|| damaged("it is missing"))?;
        let json = page::open(&value).map_err(damaged)?;
        Ok(serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?)
    }

    /// A page of a generation's codes; empty where there is none.
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

    /// A page of a generation's sketches; empty where there is none. A damaged one counts as empty: what it held is made again with the codes.
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
                tracing::error!(%damage, "the page is overwritten and its sketches are lost");
                Ok(Page::new())
            }
        }
    }
}

pub fn hash(hasher: &RandomState, id: &ImageId) -> u32 {
    hasher.hash_one(id) as u32
}
