//! The public methods of [`Index`], with one file per topic.
//!
//! - `images`: single images
//! - `search`: search by code and sketch
//! - `list`: listing by age
//! - `copies`: groups of copies
//! - `stats`: numbers of images, labels and codes
//! - `generations`: changes of models
//! - `fields`: declared fields
//! - `originals`: original keys
//! - `replication`: writes of a log
//! - `snapshot`: copying the store
//! - `tree`: extra trees for the caller's own data

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
        write::{Log, Outcome, Write},
    },
    view::store::Store,
    write::writer::Writer,
};

pub mod copies;
pub mod fields;
pub mod generations;
pub mod images;
pub mod list;
pub mod originals;
pub mod replication;
pub mod search;
pub mod snapshot;
pub mod stats;
pub mod tree;

/// A handle on an index. Dropping the last one commits the accepted writes and unlocks the folder.
#[derive(Clone)]
pub struct Index(Arc<Shared>);

struct Shared {
    // Dropped before the store, which the writer's thread uses.
    writer: Writer,
    store: Arc<Store>,
    /// Allocated original keys that are not in use yet.
    new_keys: tokio::sync::Mutex<Vec<OriginalKey>>,
    /// The log that all writes go through, if any.
    log: OnceLock<Arc<dyn Log>>,
}

impl Index {
    /// Opens the index in a folder, or creates one. Reads all codes, so the time grows with their
    /// number. Damaged pages are left out and listed in [`stats`](Self::stats); their images are
    /// not found until they are inserted again.
    ///
    /// # Errors
    /// [`IndexError::Restoring`], [`InUse`](IndexError::InUse), [`Open`](IndexError::Open),
    /// [`Schema`](IndexError::Schema), [`Model`](IndexError::Model),
    /// [`Precision`](IndexError::Precision), [`Lengths`](IndexError::Lengths),
    /// [`Corrupt`](IndexError::Corrupt), [`Store`](IndexError::Store),
    /// [`OtherGallery`](IndexError::OtherGallery), [`OtherBeginning`](IndexError::OtherBeginning),
    /// [`Follows`](IndexError::Follows).
    pub fn open(config: IndexConfig) -> Result<Index, IndexError> {
        if config.path.join(RESTORING).exists() {
            return Err(IndexError::Restoring { path: config.path });
        }
        Index::open_restoring(config)
    }

    /// Same as [`open`](Self::open), but also opens a folder that is being restored.
    ///
    /// # Errors
    /// As [`open`](Self::open), except [`IndexError::Restoring`].
    pub fn open_restoring(config: IndexConfig) -> Result<Index, IndexError> {
        let (exact_precision, precision) = config.precision.into_exact();
        let (exact_model, model) = config.model.into_exact();
        let wanted = Generation::new(model, precision, &config.lengths, config.sketch)?;
        let given = wanted.precision.clone();
        let IndexConfig {
            path,
            cache_bytes,
            gallery,
            sketch_storage,
            ..
        } = config;
        let new = open::NewStore {
            generation: wanted,
            gallery,
        };
        let index = Index::start(path, cache_bytes, sketch_storage, Some(new), exact_model)?;
        let stored = index.precision();
        if exact_precision && stored != given {
            return Err(IndexError::Precision { stored, given });
        }
        Ok(index)
    }

    /// The numeric type in which the active generation's codes were made.
    pub fn precision(&self) -> String {
        self.0.store.view().active.generation.precision.clone()
    }

    /// Opens an existing index, of any model.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`IndexError::Empty`].
    pub fn open_existing(path: PathBuf, cache_bytes: u64) -> Result<Index, IndexError> {
        Index::start(path, cache_bytes, None, None, false)
    }

    fn start(
        path: PathBuf,
        cache_bytes: u64,
        sketch_storage: Option<SketchStorage>,
        new: Option<open::NewStore>,
        exact_model: bool,
    ) -> Result<Index, IndexError> {
        let (store, state) =
            open::open_store(&path, cache_bytes, sketch_storage, new, exact_model)?;
        let store = Arc::new(store);
        let writer = Writer::start(store.clone(), state).map_err(|source| IndexError::Open {
            path,
            source: source.into(),
        })?;
        let new_keys = tokio::sync::Mutex::default();
        Ok(Index(Arc::new(Shared {
            writer,
            store,
            new_keys,
            log: OnceLock::new(),
        })))
    }

    /// Does a write, through the log if there is one.
    pub(crate) async fn write(&self, write: Write) -> Result<Outcome, IndexError> {
        match self.0.log.get() {
            None => self.0.writer.submit(|group| group.write(write)).await,
            Some(log) => {
                // Once the write is in the log, its caller would have to wait for disk space.
                self.0.store.disk_space.check()?;
                log.append(write).await
            }
        }
    }

    /// Reads the whole store and returns the damage it finds. Call it only while nothing writes: a
    /// concurrent write is reported as damage.
    ///
    /// # Errors
    /// [`IndexError::Store`] if sled fails.
    pub fn verify(&self) -> Result<Vec<Damage>, IndexError> {
        verify::verify(&self.0.store)
    }

    /// Stops accepting writes, and returns when the accepted ones are on disk. Blocks. Reads still
    /// work afterwards.
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

/// The file that marks a data folder as being restored from a snapshot or an export.
pub const RESTORING: &str = "restoring";
