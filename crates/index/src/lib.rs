//! The index: images with their codes, kept in sled and found again exactly, by Hamming radius.
//! Knows neither the model that makes codes nor who asks; one handle, cheap to clone, safe to share. `code` is what codes are, for all
//! that speak of them; `priority` ranks threads.

#![forbid(unsafe_code)]

mod api;
pub mod code;
mod disk;
mod memory;
mod open;
pub mod priority;
mod read;
mod types;
mod upkeep;
mod view;
mod write;

use crate::{open::verify, view::store};
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use serde_json::Value;
use tokio::sync::Mutex;

pub use api::copies::{Copies, Group, Groups, Search, SketchSet};
pub use api::generations::{Missing, Recoded, Turning};
pub use api::overview::{Class, Labelled, Sharing};
pub use api::replication::{Done, Log, Write};
pub use api::snapshot::{Cut, restore};
pub use api::tree::Tree;
pub use disk::engine::room::is_full;
pub use disk::originals::Original;
pub use disk::position::Applied;
pub use disk::schema::SCHEMA;
pub use memory::code_set::CodeSet;
pub use types::config::{Followed, IndexConfig, Wanted};
pub use types::damage::Damage;
pub use types::error::IndexError;
pub use types::generation::Generation;
pub use types::query::{Cursor, Facts, Found, Listing, Match, Order, Query};
pub use types::record::{Codes, ImageId, NewImage, Record, Times, WholeImage};
pub use types::revision::{Expected, Revision, Revisions};
pub use types::sketch::{Kept, Sketch};
pub use types::text::nfc;
pub use upkeep::compact::compact;

use view::store::Store;
use write::writer::Writer;

/// A file that is in a data folder while it is restored from a snapshot or an export.
pub const RESTORING: &str = "restoring";

/// A handle on an index. When the last is dropped, what was accepted is committed and the folder let go.
#[derive(Clone)]
pub struct Index(Arc<Shared>);

struct Shared {
    // Dropped before the store, which its thread uses.
    writer: Writer,
    store: Arc<Store>,
    /// Names for originals that were not given yet.
    names: Mutex<Vec<Original>>,
    /// Where writes go first, if they do.
    log: OnceLock<Arc<dyn Log>>,
}

impl Index {
    /// Opens the index in a folder, or makes one there. Reads all its codes, so it takes longer the more there are. Damaged
    /// pages are left out and told of in [`facts`](Self::facts); what they held is not found until it is inserted again.
    ///
    /// # Errors
    /// [`IndexError::Restoring`], [`InUse`](IndexError::InUse), [`Open`](IndexError::Open), [`Schema`](IndexError::Schema), [`Model`](IndexError::Model),
    /// [`Precision`](IndexError::Precision), [`Lengths`](IndexError::Lengths), [`Corrupt`](IndexError::Corrupt),
    /// [`Store`](IndexError::Store), [`OtherGallery`](IndexError::OtherGallery), [`OtherBeginning`](IndexError::OtherBeginning),
    /// [`Follows`](IndexError::Follows).
    pub fn open(config: IndexConfig) -> Result<Index, IndexError> {
        if config.path.join(RESTORING).exists() {
            return Err(IndexError::Restoring { path: config.path });
        }
        Index::open_restoring(config)
    }

    /// As [`open`](Self::open), but in a folder too that is being restored.
    ///
    /// # Errors
    /// As [`open`](Self::open) otherwise.
    pub fn open_restoring(config: IndexConfig) -> Result<Index, IndexError> {
        let (exactly, precision) = config.precision.split();
        let (this_model, model) = config.model.split();
        let wanted = Generation::new(model, precision, &config.lengths, config.sketch)?;
        let given = wanted.precision.clone();
        let IndexConfig {
            path,
            cache_bytes,
            gallery,
            kept,
            ..
        } = config;
        let new = store::New {
            generation: wanted,
            gallery,
        };
        let index = Index::start(path, cache_bytes, kept, Some(new), this_model)?;
        let stored = index.precision();
        if exactly && stored != given {
            return Err(IndexError::Precision { stored, given });
        }
        Ok(index)
    }

    /// The numeric type that the codes are made in that are searched.
    pub fn precision(&self) -> String {
        self.0.store.present().active.generation.precision.clone()
    }

    /// Opens the index in a folder, whatever model filled it.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`IndexError::Empty`].
    pub fn open_present(path: PathBuf, cache_bytes: u64) -> Result<Index, IndexError> {
        Index::start(path, cache_bytes, None, None, false)
    }

    fn start(
        path: PathBuf,
        cache_bytes: u64,
        kept: Option<Kept>,
        new: Option<store::New>,
        exactly: bool,
    ) -> Result<Index, IndexError> {
        let (store, state) = Store::open(&path, cache_bytes, kept, new, exactly)?;
        let store = Arc::new(store);
        let writer = Writer::start(store.clone(), state).map_err(|source| IndexError::Open {
            path,
            source: source.into(),
        })?;
        let names = Mutex::default();
        Ok(Index(Arc::new(Shared {
            writer,
            store,
            names,
            log: OnceLock::new(),
        })))
    }

    /// Inserts or replaces an image and tells whether it is new; returns when it is on disk. A replaced image keeps its
    /// age and its time of creation.
    ///
    /// # Errors
    /// [`IndexError::WrongCodes`], [`Generation`](IndexError::Generation) where codes of the active generation are lacking,
    /// [`Payload`](IndexError::Payload), [`Closed`](IndexError::Closed),
    /// [`Store`](IndexError::Store), [`Corrupt`](IndexError::Corrupt).
    pub async fn put(&self, image: NewImage) -> Result<(Record, bool), IndexError> {
        self.put_if(image, Expected::default()).await
    }

    /// As [`put`](Self::put), if the image with its id is as expected when the write's turn comes.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::Unexpected`].
    pub async fn put_if(
        &self,
        image: NewImage,
        expected: Expected,
    ) -> Result<(Record, bool), IndexError> {
        let id = image.id.clone();
        match self.write(Write::put(image).only_if(id, expected)).await? {
            Done::Put(record, created) => Ok((*record, created)),
            _ => Err(IndexError::Closed),
        }
    }

    /// Changes the labels, the payload or both of an image, each where given; `None` where there is no such image.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if).
    pub async fn patch(
        &self,
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
        expected: Expected,
    ) -> Result<Option<Record>, IndexError> {
        let write = Write::patch(id.clone(), labels, payload);
        match self.write(write.only_if(id, expected)).await? {
            Done::Patched(record) => Ok(record.map(|record| *record)),
            _ => Err(IndexError::Closed),
        }
    }

    /// Removes an image and tells whether there was one.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if).
    pub async fn delete(&self, id: ImageId, expected: Expected) -> Result<bool, IndexError> {
        let write = Write::Delete { id: id.clone() };
        match self.write(write.only_if(id, expected)).await? {
            Done::Deleted(found) => Ok(found),
            _ => Err(IndexError::Closed),
        }
    }

    /// Whether an image is as expected just now; it may be another when a write comes to it.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`IndexError::Unexpected`].
    pub fn expect(&self, id: &ImageId, expected: &Expected) -> Result<(), IndexError> {
        let present = self.get(id)?.map(|record| record.revision);
        expected.check(id, present)
    }

    /// An image, with its codes in the active generation.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Corrupt`](IndexError::Corrupt).
    pub fn get(&self, id: &ImageId) -> Result<Option<Record>, IndexError> {
        self.get_in(None, id)
    }

    /// An image, with its codes in a generation.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`IndexError::Generation`] where there is no such generation any more.
    pub fn get_in(
        &self,
        generation: Option<u32>,
        id: &ImageId,
    ) -> Result<Option<Record>, IndexError> {
        self.0.store.steady(generation, |directory, reading| {
            Ok(match reading.place(directory, id)? {
                Some(Some(sequence)) => reading.record(sequence)?.map(Some),
                Some(None) => Some(None),
                None => None,
            })
        })
    }

    /// Reads everything there is and returns what is damaged; nothing if all is well. Call it only if nothing writes: a write at the same time is
    /// reported as damage.
    ///
    /// # Errors
    /// [`IndexError::Store`] where sled itself gives up.
    pub fn verify(&self) -> Result<Vec<Damage>, IndexError> {
        verify::verify(&self.0.store)
    }

    /// Accepts no more writes, and returns when those accepted are on disk. Blocks; reading goes on afterwards.
    ///
    /// # Errors
    /// [`IndexError::Store`].
    pub fn close(&self) -> Result<(), IndexError> {
        self.0.writer.close();
        self.0.store.db()?.flush()?;
        self.0
            .store
            .acknowledged
            .sync()
            .map_err(sled::Error::from)?;
        Ok(())
    }
}
