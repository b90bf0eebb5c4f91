//! Extra trees of the store, for the caller's own data. Writes are refused if the disk is full.

use crate::{
    api::Index,
    disk::engine::{self, OpenTree},
    types::error::IndexError,
};

/// The disk space reserved for each write, in bytes.
const WRITE_ALLOWANCE: u64 = 64 << 10;

/// A handle on a tree, cheap to clone.
#[derive(Clone)]
pub struct Tree {
    index: Index,
    name: &'static str,
}

impl Index {
    /// Returns the tree of this name; it is created on first use.
    pub fn tree(&self, name: &'static str) -> Tree {
        Tree {
            index: self.clone(),
            name,
        }
    }
}

impl Tree {
    /// Opens the tree for reading. Do not hold it for long: it blocks reopening the store.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Reopening`](IndexError::Reopening).
    pub fn open(&self) -> Result<OpenTree, IndexError> {
        OpenTree::open(self.index.0.store.db()?, self.name)
    }

    /// Writes to the tree. The write is durable after [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], and as [`open`](Self::open).
    pub fn write<T>(
        &self,
        write: impl FnOnce(&engine::Tree) -> Result<T, engine::Error>,
    ) -> Result<T, IndexError> {
        self.index.0.store.disk_space.reserve(WRITE_ALLOWANCE)?;
        let tree = self.open()?;
        write(&tree).map_err(|error| self.failed(error.into()))
    }

    /// Returns when all earlier writes are durable.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], and as [`open`](Self::open).
    pub async fn flush(&self) -> Result<(), IndexError> {
        let tree = self.open()?;
        let flushed = tree.flush_async().await;
        flushed.map_err(|error| self.failed(error.into()))?;
        Ok(())
    }

    /// Marks sled as failed and wakes the writer, which opens it again.
    fn failed(&self, error: IndexError) -> IndexError {
        let store = &self.index.0.store;
        store.database().mark_failed();
        self.index.0.writer.wake();
        store.disk_space.explain(error)
    }
}
