//! What an index does for whoever keeps originals: it names them, says which names no image has any more, and which images have one.
//! Knows when a name may be given and let go of; neither where originals lie nor what is done with a name.

use std::{collections::HashMap, sync::PoisonError};

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
    /// The store's own id, under which its originals are kept apart from those of other stores.
    pub fn id(&self) -> Uuid {
        self.0.store.id
    }

    /// Whether there may be originals of an earlier opening.
    pub fn has_originals(&self) -> bool {
        self.0.store.named
    }

    /// A name for an original that is about to be kept. It is [released](Self::released) when the store is opened again, unless an image
    /// [has](NewImage::original) it then.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn name_original(&self) -> Result<OriginalKey, IndexError> {
        let mut names = self.0.names.lock().await;
        if let Some(name) = names.pop() {
            return Ok(name);
        }
        let Outcome::Block(block) = self.write(Write::OpenBlock).await? else {
            return Err(IndexError::Closed);
        };
        names.extend(OriginalKey::of_block(block));
        names.reverse();
        names.pop().ok_or(IndexError::Closed)
    }

    /// The names that no image has and under which an original may lie: those of replaced and deleted images, and at first those that were
    /// left behind when the store was last closed. Whoever has removed what lay there [forgets](Self::forget) them. Taken once.
    pub fn released(&self) -> Option<mpsc::UnboundedReceiver<OriginalKey>> {
        let removals = self.0.store.removals.lock();
        removals.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Has a name be released that was given and that no image will have.
    pub fn let_go(&self, name: OriginalKey) {
        self.0.store.release([name]);
    }

    /// Takes note that nothing lies under these names, which were released.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn forget(&self, names: Vec<OriginalKey>) -> Result<(), IndexError> {
        self.write(Write::Forget(names)).await.map(drop)
    }

    /// All names that images have, and the size of what lies there.
    ///
    /// # Errors
    /// [`IndexError::Store`]. Damaged pages are passed over.
    pub fn originals(&self) -> Result<HashMap<OriginalKey, u64>, IndexError> {
        verify::originals(&self.0.store)
    }
}
