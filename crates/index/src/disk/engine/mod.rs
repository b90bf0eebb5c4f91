//! sled as a store has it: opened once, and again in place after a write failed, since sled refuses all writes from then on.
//! Knows who uses it at present; neither what is stored nor what is done about a failure.

pub mod open;
pub mod room;
pub mod swap;

pub use sled::{Batch, Db, Error, IVec, Tree};

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::types::error::IndexError;

/// How long an attempt to open sled again waits for readers to finish. New readers block until the attempt ends.
const FINISH: Duration = Duration::from_millis(100);

/// sled, with whether its last write failed.
pub struct Database {
    path: PathBuf,
    cache_bytes: u64,
    opened: RwLock<Opened>,
    /// Whether a write has failed since it was opened.
    failed: AtomicBool,
    /// Whether what is read may be part of a write that failed, or lack one that was seen.
    torn: AtomicBool,
    /// Whether it lacks commits that were acknowledged.
    lost: AtomicBool,
}

struct Opened {
    /// None if it could not be opened again.
    db: Option<Arc<sled::Db>>,
    times: u64,
}

impl Database {
    /// sled, opened in a folder.
    pub fn new(db: sled::Db, path: &Path, cache_bytes: u64) -> Self {
        Database {
            path: path.to_owned(),
            cache_bytes,
            opened: RwLock::new(Opened {
                db: Some(Arc::new(db)),
                times: 1,
            }),
            failed: AtomicBool::new(false),
            torn: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// Returns sled. Drop it soon: sled cannot be opened again before. Do not call this again while you hold it: the second call may block.
    ///
    /// # Errors
    /// [`IndexError::Reopening`].
    pub fn get(&self) -> Result<Arc<sled::Db>, IndexError> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        opened.db.clone().ok_or(IndexError::Reopening)
    }

    /// How often it was opened.
    pub fn times(&self) -> u64 {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        opened.times
    }

    /// Takes note that a write failed.
    pub fn fail(&self) {
        self.torn.store(true, Ordering::Release);
        self.failed.store(true, Ordering::Release);
    }

    /// Whether a write failed, so that sled must be opened again.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Takes note that what is read is whole again: no write that failed is left to be completed.
    pub fn settle(&self) {
        self.torn.store(false, Ordering::Release);
    }

    /// Whether what is read may be part of a write that failed, or lack one that was seen.
    pub fn is_torn(&self) -> bool {
        self.torn.load(Ordering::Acquire)
    }

    /// Takes note that it lacks commits that were acknowledged.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Whether it lacks commits that were acknowledged, so that nothing is written any more.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Opens it again. What was not flushed may be gone.
    ///
    /// # Errors
    /// [`IndexError::Reopening`] if somebody still uses it, and those of opening. It may be tried again.
    pub fn open_again(&self) -> Result<(), IndexError> {
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        let end = Instant::now() + FINISH;
        while opened
            .db
            .as_ref()
            .is_some_and(|db| Arc::strong_count(db) > 1)
        {
            if Instant::now() > end {
                return Err(IndexError::Reopening);
            }
            thread::sleep(Duration::from_millis(1));
        }
        drop(opened.db.take());
        opened.db = Some(Arc::new(open::open(&self.path, self.cache_bytes)?));
        opened.times += 1;
        self.failed.store(false, Ordering::Release);
        Ok(())
    }
}

/// A tree of the database, held while it is used.
pub struct OpenTree {
    // Dropped before the database.
    tree: sled::Tree,
    _db: Arc<sled::Db>,
}

impl OpenTree {
    /// The tree of a name.
    ///
    /// # Errors
    /// [`IndexError::Store`].
    pub fn open(db: Arc<sled::Db>, name: &str) -> Result<Self, IndexError> {
        let tree = db.open_tree(name)?;
        Ok(OpenTree { tree, _db: db })
    }
}

impl Deref for OpenTree {
    type Target = sled::Tree;

    fn deref(&self) -> &sled::Tree {
        &self.tree
    }
}
