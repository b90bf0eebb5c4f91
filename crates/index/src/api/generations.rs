//! Begins, fills, activates and discards generations.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    api::Index,
    disk::{
        key::{self, Key},
        page,
        row::Row,
    },
    types::{
        error::{Damage, IndexError},
        generation::Generation,
        id::{ImageId, OriginalKey},
        write::{Outcome, Recoded, Write},
    },
    view::store::Store,
};

/// The number of pages removed in one write.
const PURGE_BATCH: usize = 512;

/// An image that has no codes yet in the standby generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its id.
    pub id: ImageId,
    /// The original to make codes of.
    pub original: Option<OriginalKey>,
    /// The size of the original in bytes.
    pub bytes: u64,
}

/// The generations of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationStatus {
    /// The active generation.
    pub active: Generation,
    /// The standby generation, if there is one.
    pub standby: Option<Generation>,
    /// The number of images without codes in the standby generation.
    pub missing: u64,
    /// The number of images.
    pub images: u64,
}

impl Index {
    /// Returns the generations.
    pub fn generations(&self) -> GenerationStatus {
        let view = self.0.store.view();
        let of = |generation: &Generation| generation.clone();
        GenerationStatus {
            active: of(&view.active.generation),
            standby: (view.standby.as_ref()).map(|side| of(&side.generation)),
            missing: view.missing(),
            images: view.images,
        }
    }

    /// Returns the number of row pages, including empty ones.
    ///
    /// # Errors
    /// [`IndexError::Store`].
    pub fn pages(&self) -> Result<u32, IndexError> {
        let last = self.0.store.db()?.range(key::rows(0..u32::MAX)).next_back();
        let Some((key, _)) = last.transpose()? else {
            return Ok(0);
        };
        match Key::from_bytes(&key) {
            Some(Key::Rows(last)) => Ok(last + 1),
            _ => Ok(0),
        }
    }

    /// Begins a standby generation, replacing any other one, and returns its number. Continues the
    /// existing one if it has the same model, numeric type and lengths.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::Lengths`] if there are none.
    pub async fn begin(&self, wanted: Generation) -> Result<u32, IndexError> {
        let Outcome::Number(number) = self.write(Write::Begin(wanted)).await? else {
            return Err(IndexError::Closed);
        };
        self.purge().await?;
        Ok(number)
    }

    /// Returns images of a range of row pages that have no codes in the standby generation: at
    /// least `enough` of them if the range has as many. Also returns the page to continue from, if
    /// any is left. A concurrent write may or may not be seen. Damaged pages are skipped.
    ///
    /// # Errors
    /// [`IndexError::Generation`] if `number` is not the standby generation, [`IndexError::Store`].
    pub fn missing(
        &self,
        number: u32,
        pages: Range<u32>,
        enough: usize,
    ) -> Result<(Vec<Missing>, Option<u32>), IndexError> {
        let store = &self.0.store;
        let view = store.view();
        let standby = view.standby.as_ref().map(|side| &side.generation);
        let standby = standby.filter(|standby| standby.number == number);
        let standby = standby.ok_or_else(|| IndexError::Generation {
            given: number,
            active: view.active.generation.number,
        })?;
        let mut missing = Vec::new();
        let db = store.db()?;
        for entry in db.range(key::rows(pages)) {
            let (key, value) = entry?;
            let Some(Key::Rows(page)) = Key::from_bytes(&key) else {
                continue;
            };
            if missing.len() >= enough {
                return Ok((missing, Some(page)));
            }
            let rows = match page::decode::<Row>(&value) {
                Ok(rows) => rows,
                Err(why) => {
                    let damage = Damage::rows(page, why);
                    tracing::error!(%damage, "a page is damaged; its images get no codes in the standby generation");
                    continue;
                }
            };
            let codes = match Store::codes(&db, standby, page) {
                // The codes of a damaged page are made again.
                Err(IndexError::Corrupt { .. }) => BTreeMap::new(),
                codes => codes?,
            };
            let lacking = rows
                .into_iter()
                .filter(|(slot, _)| !codes.contains_key(slot));
            missing.extend(lacking.map(|(_, row)| Missing {
                id: row.id.into(),
                original: row.original,
                bytes: row.bytes,
            }));
        }
        Ok((missing, None))
    }

    /// Stores the codes of images in the standby generation. Skips images that already have codes
    /// or whose original has changed. Returns the number of images that got codes.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::Generation`] if `number` is not the standby
    /// generation.
    pub async fn recode(&self, number: u32, images: Vec<Recoded>) -> Result<usize, IndexError> {
        match self.write(Write::Recode { number, images }).await? {
            Outcome::Recoded(count) => Ok(count),
            _ => Err(IndexError::Closed),
        }
    }

    /// Makes the standby generation active; the previous one becomes standby. One commit, so each
    /// search sees one or the other.
    ///
    /// # Errors
    /// As [`put`](Self::put), [`IndexError::Generation`] if `number` is not the standby generation,
    /// [`IndexError::Unfinished`] if images lack codes.
    pub async fn activate(&self, number: u32) -> Result<(), IndexError> {
        self.write(Write::Activate(number)).await.map(drop)
    }

    /// Discards the standby generation, if there is one.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn discard(&self) -> Result<(), IndexError> {
        self.write(Write::Discard).await?;
        self.purge().await
    }

    /// Removes the pages of discarded generations and deleted fields, interleaved with other
    /// writes.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn purge(&self) -> Result<(), IndexError> {
        while self
            .0
            .writer
            .submit(|group| group.purge(PURGE_BATCH))
            .await?
        {}
        Ok(())
    }
}
