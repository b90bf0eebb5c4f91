//! Another tree of the store, for what is kept beside images: read at any time, and written if the disk has room.
//! Knows names of trees; not what is kept.

use crate::{
    api::Index,
    disk::engine::{self, OpenTree},
    types::error::IndexError,
};

/// How many bytes a write may have without more room being asked for.
const BYTES: u64 = 64 << 10;

/// A handle on a tree, cheap to clone.
#[derive(Clone)]
pub struct Tree {
    index: Index,
    name: &'static str,
}

impl Index {
    /// The tree of a name of its own, which is made if it is not there.
    pub fn tree(&self, name: &'static str) -> Tree {
        Tree {
            index: self.clone(),
            name,
        }
    }
}

impl Tree {
    /// The tree, to be read. Nobody holds it for long.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Reopening`](IndexError::Reopening).
    pub fn open(&self) -> Result<OpenTree, IndexError> {
        OpenTree::open(self.index.0.store.db()?, self.name)
    }

    /// Writes to it, not durably yet.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], and as [`open`](Self::open).
    pub fn write<T>(
        &self,
        write: impl FnOnce(&engine::Tree) -> Result<T, engine::Error>,
    ) -> Result<T, IndexError> {
        self.index.0.store.room.take(BYTES)?;
        let tree = self.open()?;
        write(&tree).map_err(|error| self.failed(error.into()))
    }

    /// Returns when all that was written is durable.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], and as [`open`](Self::open).
    pub async fn flush(&self) -> Result<(), IndexError> {
        let tree = self.open()?;
        let flushed = tree.flush_async().await;
        flushed.map_err(|error| self.failed(error.into()))?;
        Ok(())
    }

    /// sled takes no more writes from now on, so it is opened again.
    fn failed(&self, error: IndexError) -> IndexError {
        let store = &self.index.0.store;
        store.database().fail();
        self.index.0.writer.wake();
        store.room.explain(error)
    }
}
