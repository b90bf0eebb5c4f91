//! sled as a store uses it: opened once, and reopened in place after a failed write, since sled
//! then refuses all writes.

pub mod disk_space;
pub mod open;
pub mod swap;

pub use sled::{Batch, Db, Error, IVec, Tree};

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::types::error::IndexError;
use parking_lot::RwLock;

/// The time that a reopening waits for readers to finish. New readers block during it.
const READER_TIMEOUT: Duration = Duration::from_millis(100);

/// sled, with the state of its last write.
pub struct Database {
    path: PathBuf,
    cache_bytes: u64,
    opened: RwLock<Opened>,
    /// True if a write has failed since sled was opened.
    failed: AtomicBool,
    /// True if reads may see part of a failed write, or miss a write that readers saw before.
    torn: AtomicBool,
    /// True if acknowledged commits are lost.
    lost: AtomicBool,
}

struct Opened {
    /// `None` if the last reopening failed.
    db: Option<Arc<sled::Db>>,
    open_count: u64,
}

impl Database {
    /// Wraps sled, opened in a folder.
    pub fn new(db: sled::Db, path: &Path, cache_bytes: u64) -> Self {
        Database {
            path: path.to_owned(),
            cache_bytes,
            opened: RwLock::new(Opened {
                db: Some(Arc::new(db)),
                open_count: 1,
            }),
            failed: AtomicBool::new(false),
            torn: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        }
    }

    /// Returns sled. Drop it soon: sled cannot be reopened while it is held. Do not call this again
    /// while you hold it: the second call may block.
    ///
    /// # Errors
    /// [`IndexError::Reopening`].
    pub fn get(&self) -> Result<Arc<sled::Db>, IndexError> {
        let opened = self.opened.read();
        opened.db.clone().ok_or(IndexError::Reopening)
    }

    /// The number of times that sled was opened.
    pub fn open_count(&self) -> u64 {
        let opened = self.opened.read();
        opened.open_count
    }

    /// Records that a write failed.
    pub fn mark_failed(&self) {
        self.torn.store(true, Ordering::Release);
        self.failed.store(true, Ordering::Release);
    }

    /// Returns true if a write failed, so that sled must be reopened.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Records that reads are consistent again: no failed write is left to complete.
    pub fn mark_consistent(&self) {
        self.torn.store(false, Ordering::Release);
    }

    /// Returns true if reads may see part of a failed write, or miss a write that readers saw
    /// before.
    pub fn is_torn(&self) -> bool {
        self.torn.load(Ordering::Acquire)
    }

    /// Records that acknowledged commits are lost.
    pub fn mark_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Returns true if acknowledged commits are lost, so that nothing is written any more.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Reopens sled. Writes that were not flushed may be gone.
    ///
    /// # Errors
    /// [`IndexError::Reopening`] if sled is still in use, and the errors of opening. It may be
    /// tried again.
    pub fn reopen(&self) -> Result<(), IndexError> {
        let mut opened = self.opened.write();
        let end = Instant::now() + READER_TIMEOUT;
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
        opened.open_count += 1;
        self.failed.store(false, Ordering::Release);
        Ok(())
    }
}

/// A tree with the database that it belongs to.
pub struct OpenTree {
    // Dropped before the database.
    tree: sled::Tree,
    _db: Arc<sled::Db>,
}

impl OpenTree {
    /// Opens the tree of a name.
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
