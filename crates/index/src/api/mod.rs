//! What callers can ask of an index: the handle, and one file a topic.
//!
//! `images` single images · `search` by code and sketch · `list` by age · `copies` groups of copies · `stats` figures ·
//! `generations` changes of models · `originals` keys of original files · `replication` the log of a gallery ·
//! `snapshot` a copy of the store · `tree` further trees for the owner's own data.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use crate::{
    disk::engine,
    open::{self, verify},
    types::{
        config::{IndexConfig, SketchStorage},
        error::{Damage, IndexError},
        generation::Generation,
        id::OriginalKey,
        write::Log,
    },
    view::store::Store,
    write::writer::Writer,
};

pub mod copies;
pub mod generations;
pub mod images;
pub mod list;
pub mod originals;
pub mod replication;
pub mod search;
pub mod snapshot;
pub mod stats;
pub mod tree;

/// A handle on an index. When the last is dropped, what was accepted is committed and the folder let go.
#[derive(Clone)]
pub struct Index(Arc<Shared>);

struct Shared {
    // Dropped before the store, which its thread uses.
    writer: Writer,
    store: Arc<Store>,
    /// Names for originals that were not given yet.
    names: tokio::sync::Mutex<Vec<OriginalKey>>,
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
        let new = open::New {
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
        self.0.store.view().active.generation.precision.clone()
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
        kept: Option<SketchStorage>,
        new: Option<open::New>,
        exactly: bool,
    ) -> Result<Index, IndexError> {
        let (store, state) = open::store(&path, cache_bytes, kept, new, exactly)?;
        let store = Arc::new(store);
        let writer = Writer::start(store.clone(), state).map_err(|source| IndexError::Open {
            path,
            source: source.into(),
        })?;
        let names = tokio::sync::Mutex::default();
        Ok(Index(Arc::new(Shared {
            writer,
            store,
            names,
            log: OnceLock::new(),
        })))
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
            .map_err(engine::Error::from)?;
        Ok(())
    }
}

/// A file that is in a data folder while it is restored from a snapshot or an export.
pub const RESTORING: &str = "restoring";
