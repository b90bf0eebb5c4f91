//! The index: images with their codes, kept in sled and found again exactly, by Hamming radius.
//! Knows neither the model that makes codes nor who asks; one handle, cheap to clone, safe to share.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use crate::code::{HashCode, Length};

mod directory;
mod error;
mod generation;
mod group;
mod key;
mod migrate;
mod page;
mod probe;
mod read;
mod record;
mod store;
mod writer;

pub use error::IndexError;
pub use record::{Content, ImageId, Record};

use error::spell;
use read::Pages;
use store::Store;
use writer::Writer;

/// Where an index lies and what it has to hold.
#[derive(Clone, Debug)]
pub struct IndexConfig {
    /// The folder, made if it is not there.
    pub path: PathBuf,
    /// The id of the checkpoint that makes the codes.
    pub model: String,
    /// The lengths of its codes.
    pub lengths: Vec<Length>,
    /// How much memory sled may use to keep pages of the store.
    pub cache_bytes: u64,
}

/// An image to insert, or to take the place of the one with its id.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Its id.
    pub id: ImageId,
    /// One code of each length of the index, ascending.
    pub codes: Vec<HashCode>,
    /// Its labels.
    pub labels: Vec<String>,
    /// Anything the caller wants kept with it; JSON null is kept as none.
    pub payload: Option<Value>,
    /// The original.
    pub content: Content,
}

/// What to look for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Near what.
    pub code: HashCode,
    /// How near, inclusive.
    pub radius: u32,
    /// How many matches to return at most.
    pub limit: usize,
    /// How many matches to pass over first.
    pub offset: usize,
    /// Only images that have any of these; all images where there are none.
    pub labels: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How many match, whatever the limit.
    pub total: u64,
    /// The matches asked for, by distance, then code, then age.
    pub matches: Vec<Match>,
}

/// An image found.
#[derive(Clone, Debug)]
pub struct Match {
    /// How far its code is from the query.
    pub distance: u32,
    /// Its code of the length searched by.
    pub code: HashCode,
    /// The image.
    pub record: Record,
}

/// Figures about an index.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// How many images it holds.
    pub images: u64,
    /// How many different codes of each length these have.
    pub distinct_codes: BTreeMap<Length, u64>,
    /// The number of the active generation.
    pub generation: u32,
    /// The version of the layout on disk.
    pub schema: u32,
    /// The size of the folder.
    pub disk_bytes: u64,
}

/// A handle on an index. When the last is dropped, what was accepted is committed and the folder let go.
#[derive(Clone)]
pub struct Index(Arc<Shared>);

struct Shared {
    // Dropped before the store, which its thread uses.
    writer: Writer,
    store: Arc<Store>,
}

impl Index {
    /// Opens the index in a folder, or makes one there. Reads all its codes, so it takes longer the more there are.
    ///
    /// # Errors
    /// [`IndexError::InUse`], [`Open`](IndexError::Open), [`Schema`](IndexError::Schema), [`Model`](IndexError::Model),
    /// [`Lengths`](IndexError::Lengths), [`Corrupt`](IndexError::Corrupt), [`Store`](IndexError::Store).
    pub fn open(config: IndexConfig) -> Result<Index, IndexError> {
        let path = config.path.clone();
        let (store, next) = Store::open(config)?;
        let store = Arc::new(store);
        let writer = Writer::start(store.clone(), next).map_err(|source| IndexError::Open {
            path,
            source: source.into(),
        })?;
        Ok(Index(Arc::new(Shared { writer, store })))
    }

    /// Inserts or replaces an image and tells whether it is new; returns when it is on disk. A replaced image keeps its
    /// age and its time of creation.
    ///
    /// # Errors
    /// [`IndexError::WrongCodes`], [`Payload`](IndexError::Payload), [`Closed`](IndexError::Closed),
    /// [`Store`](IndexError::Store), [`Corrupt`](IndexError::Corrupt).
    pub async fn put(&self, image: NewImage) -> Result<(Record, bool), IndexError> {
        let lengths = &self.0.store.generation.lengths;
        if !image
            .codes
            .iter()
            .map(HashCode::length)
            .eq(lengths.iter().copied())
        {
            return Err(IndexError::WrongCodes {
                expected: spell(lengths.iter().copied()),
                found: spell(image.codes.iter().map(HashCode::length)),
            });
        }
        self.0.writer.submit(|group| group.put(image)).await
    }

    /// Changes the labels, the payload or both of an image, each where given; `None` where there is no such image.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn patch(
        &self,
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
    ) -> Result<Option<Record>, IndexError> {
        self.0
            .writer
            .submit(|group| group.patch(id, labels, payload))
            .await
    }

    /// Removes an image and tells whether there was one.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, id: ImageId) -> Result<bool, IndexError> {
        self.0.writer.submit(|group| group.delete(id)).await
    }

    /// An image.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Corrupt`](IndexError::Corrupt).
    pub fn get(&self, id: &ImageId) -> Result<Option<Record>, IndexError> {
        let _standing_still = self.0.store.directory();
        match self.0.store.record(id)? {
            Some(stored) => Pages::of(&self.0.store)
                .record(id.clone(), stored)
                .map(Some),
            None => Ok(None),
        }
    }

    /// The original of an image.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn content(&self, id: &ImageId) -> Result<Option<Content>, IndexError> {
        self.0.store.content(id)
    }

    /// At most `limit` images in order of id, from the first after `after` on.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn list(&self, after: Option<&ImageId>, limit: usize) -> Result<Vec<Record>, IndexError> {
        let _standing_still = self.0.store.directory();
        let mut pages = Pages::of(&self.0.store);
        let records = self.0.store.records(after, limit)?;
        records
            .into_iter()
            .map(|(id, stored)| pages.record(id, stored))
            .collect()
    }

    /// The images within a radius: exact, by distance, then code, then age. A radius past the length finds all.
    ///
    /// # Errors
    /// [`IndexError::NoSuchLength`], [`Store`](IndexError::Store), [`Corrupt`](IndexError::Corrupt).
    pub fn search(&self, query: &Query) -> Result<Found, IndexError> {
        let Query {
            code,
            radius,
            limit,
            offset,
            labels,
        } = query;
        let directory = self.0.store.directory();
        let (total, hits) = directory
            .search(code, *radius, labels, *offset, *limit)
            .ok_or_else(|| {
                let expected = spell(self.0.store.generation.lengths.iter().copied());
                let given = code.length();
                IndexError::NoSuchLength { given, expected }
            })?;
        let mut pages = Pages::of(&self.0.store);
        let matches = hits
            .iter()
            .map(|hit| pages.found(code, hit))
            .collect::<Result<_, _>>()?;
        Ok(Found { total, matches })
    }

    /// Figures about the index.
    pub fn facts(&self) -> Facts {
        let store = &self.0.store;
        let directory = store.directory();
        Facts {
            images: directory.images(),
            distinct_codes: directory.distinct().collect(),
            generation: store.generation.number,
            schema: migrate::SCHEMA,
            disk_bytes: store.db.size_on_disk().unwrap_or_else(|error| {
                tracing::warn!(%error, "the size of the store is not known");
                0
            }),
        }
    }

    /// Accepts no more writes, and returns when those accepted are on disk. Blocks; reading goes on afterwards.
    ///
    /// # Errors
    /// [`IndexError::Store`].
    pub fn close(&self) -> Result<(), IndexError> {
        self.0.writer.close();
        self.0.store.db.flush()?;
        Ok(())
    }
}
