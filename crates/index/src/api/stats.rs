//! Figures about an index, from memory and from sled's size.

use std::cmp::Reverse;

use serde::Serialize;

use crate::{
    api::Index,
    code::Length,
    disk::{names, schema},
    types::{error::IndexError, query::IndexStats},
};

impl Index {
    /// Returns figures about the index.
    pub fn stats(&self) -> IndexStats {
        let store = &self.0.store;
        let view = store.view();
        let (directory, generation) = (&view.active.directory, &view.active.generation);
        let memory = view.sides();
        let memory = memory.map(|side| (side.directory.bytes() + side.sketches.bytes()) as u64);
        let size = store.db().and_then(|db| Ok(db.size_on_disk()?));
        IndexStats {
            images: view.images,
            uncoded: view.active.uncoded,
            distinct_codes: directory.distinct().collect(),
            memory_bytes: memory.sum(),
            damage: store.damage.clone(),
            precision: generation.precision.clone(),
            generation: generation.number,
            schema: schema::SCHEMA,
            log_broken: view.broken,
            opened: store.database().open_count(),
            disk_full: !self.has_disk_space(),
            disk_bytes: size.unwrap_or_else(|error| {
                tracing::warn!(%error, "the size of the store could not be read");
                0
            }),
        }
    }
}

/// A label and the number of images that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// The number of images that have it.
    pub images: u64,
}

/// How the images of an index share codes of one length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedCodes {
    /// The length.
    pub bits: Length,
    /// The model that made the codes.
    pub model: String,
    /// The number of images that have codes.
    pub images: u64,
    /// The number of distinct codes.
    pub distinct: u64,
    /// Histogram of the codes by their number of images. Each bucket spans a power of two: 1, 2 to
    /// 3, 4 to 7, … The last bucket is not empty.
    pub buckets: Vec<CodeBucket>,
}

/// The codes whose number of images falls in one range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CodeBucket {
    /// The lower end of the range; the range ends before twice this number.
    pub from: u64,
    /// The number of codes.
    pub codes: u64,
    /// The number of images that have these codes.
    pub images: u64,
}

impl Index {
    /// Returns the most frequent labels, at most `limit`.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Corrupt`](IndexError::Corrupt).
    pub fn labels(&self, limit: usize) -> Result<Vec<LabelCount>, IndexError> {
        let store = &self.0.store;
        let mut labels: Vec<(u32, u64)> = store.view().active.directory.labels().collect();
        labels.sort_unstable_by_key(|&(number, images)| (Reverse(images), number));
        let db = store.db()?;
        let named = labels.into_iter().filter_map(|(number, images)| {
            match names::name(&db, number) {
                Ok(label) => Some(Ok(LabelCount { label, images })),
                // The last image with this label may have lost it since the count.
                Err(IndexError::Corrupt { .. }) => None,
                Err(error) => Some(Err(error)),
            }
        });
        named.take(limit).collect()
    }

    /// Returns how images share codes of one length.
    ///
    /// # Errors
    /// [`IndexError::NoSuchLength`].
    pub fn sharing(&self, bits: Length) -> Result<SharedCodes, IndexError> {
        let side = self.0.store.view().active.clone();
        let counts = side.directory.codes(bits)?;
        let mut buckets: Vec<CodeBucket> = Vec::new();
        let mut distinct = 0;
        for (_, images) in counts {
            distinct += 1;
            let bucket = images.ilog2() as usize;
            while buckets.len() <= bucket {
                let from = 1 << buckets.len();
                buckets.push(CodeBucket {
                    from,
                    ..CodeBucket::default()
                });
            }
            buckets[bucket].codes += 1;
            buckets[bucket].images += images;
        }
        Ok(SharedCodes {
            bits,
            model: side.generation.model.clone(),
            images: side.directory.images(),
            distinct,
            buckets,
        })
    }
}
