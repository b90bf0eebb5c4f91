//! Figures about an index as it is now: how much it holds, and what that takes.
//! Reads what is in memory and asks sled for its size; goes through nothing that is stored.

use std::cmp::Reverse;

use serde::Serialize;

use crate::{
    api::Index,
    code::Length,
    disk::{names, schema},
    types::{error::IndexError, query::Facts},
};

impl Index {
    /// Figures about the index.
    pub fn facts(&self) -> Facts {
        let store = &self.0.store;
        let view = store.view();
        let (directory, generation) = (&view.active.directory, &view.active.generation);
        let memory = view.sides();
        let memory = memory.map(|side| (side.directory.bytes() + side.sketches.bytes()) as u64);
        let size = store.db().and_then(|db| Ok(db.size_on_disk()?));
        Facts {
            images: view.images,
            uncoded: view.active.uncoded,
            distinct_codes: directory.distinct().collect(),
            memory_bytes: memory.sum(),
            damage: store.damage.clone(),
            precision: generation.precision.clone(),
            generation: generation.number,
            schema: schema::SCHEMA,
            log_broken: view.broken,
            opened: store.database().times(),
            disk_full: !self.has_room(),
            disk_bytes: size.unwrap_or_else(|error| {
                tracing::warn!(%error, "the size of the store is not known");
                0
            }),
        }
    }
}

/// A label that images have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelCount {
    /// The label.
    pub label: String,
    /// How many images have it.
    pub images: u64,
}

/// How the images of an index share codes of one length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SharedCodes {
    /// The length.
    pub bits: Length,
    /// The model that made the codes.
    pub model: String,
    /// How many images have codes.
    pub images: u64,
    /// How many distinct codes they have.
    pub distinct: u64,
    /// The codes by how many images have each, in buckets from a power of two to the next: 1, 2 to 3, 4 to 7, … Up to the last bucket that
    /// has any.
    pub buckets: Vec<CodeBucket>,
}

/// Codes that about as many images have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CodeBucket {
    /// The fewest images of such a code; the most are one less than twice that.
    pub from: u64,
    /// How many codes.
    pub codes: u64,
    /// How many images in all.
    pub images: u64,
}

impl Index {
    /// The labels that most images have, at most so many.
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
                // The last image that had it may have lost it since it was counted.
                Err(IndexError::Corrupt { .. }) => None,
                Err(error) => Some(Err(error)),
            }
        });
        named.take(limit).collect()
    }

    /// How images share codes of a length.
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
