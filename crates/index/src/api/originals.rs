//! Allocates original keys, and reports the unreferenced ones. Does not store originals.

use std::collections::HashMap;

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    api::Index,
    open::verify,
    types::{
        error::IndexError,
        id::OriginalKey,
        write::{Outcome, Write},
    },
};

impl Index {
    /// The store's id. Originals are kept under it, apart from those of other stores.
    pub fn id(&self) -> Uuid {
        self.0.store.id
    }

    /// Returns true if an earlier run may have stored originals.
    pub fn has_originals(&self) -> bool {
        self.0.store.had_originals
    }

    /// Allocates a key for an original that is about to be stored. When the store is opened again,
    /// the key is [released](Self::released_originals) unless an image
    /// [has](crate::NewImage::original) it.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn new_original_key(&self) -> Result<OriginalKey, IndexError> {
        let mut keys = self.0.new_keys.lock().await;
        if let Some(key) = keys.pop() {
            return Ok(key);
        }
        let Outcome::Block(block) = self.write(Write::OpenBlock).await? else {
            return Err(IndexError::Closed);
        };
        keys.extend(OriginalKey::of_block(block));
        keys.reverse();
        keys.pop().ok_or(IndexError::Closed)
    }

    /// Returns the receiver of unreferenced original keys: those of replaced and deleted images,
    /// and first those left over from the last run. Remove each original, then
    /// [forget](Self::forget_originals) its key. Returns `None` after the first call.
    pub fn released_originals(&self) -> Option<mpsc::UnboundedReceiver<OriginalKey>> {
        let mut released_receiver = self.0.store.released_receiver.lock();
        released_receiver.take()
    }

    /// Releases an allocated key that no image will use.
    pub fn release_original(&self, key: OriginalKey) {
        self.0.store.release([key]);
    }

    /// Records that the originals of these released keys are removed.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn forget_originals(&self, keys: Vec<OriginalKey>) -> Result<(), IndexError> {
        self.write(Write::Forget(keys)).await.map(drop)
    }

    /// Returns the original keys of all images, with the sizes of the originals.
    ///
    /// # Errors
    /// [`IndexError::Store`]. Damaged pages are skipped.
    pub fn originals(&self) -> Result<HashMap<OriginalKey, u64>, IndexError> {
        verify::originals(&self.0.store)
    }
}
