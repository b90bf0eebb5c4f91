//! What an index does for a change of models: a generation is begun beside the active one, filled while that is searched, and takes its place.
//! Knows which images lack codes; neither what makes these nor when a change is wanted.

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

/// How many pages of a generation that is gone are removed at a time.
const PURGED: usize = 512;

/// An image that has no codes yet in the generation beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its id.
    pub id: ImageId,
    /// Its original, of which codes are to be made.
    pub original: Option<OriginalKey>,
    /// The original's size.
    pub bytes: u64,
}

/// The generations of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationStatus {
    /// What is searched.
    pub active: Generation,
    /// What is being made, or was active before.
    pub standby: Option<Generation>,
    /// How many images still lack codes there.
    pub missing: u64,
    /// How many images there are.
    pub images: u64,
}

impl Index {
    /// Its generations.
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

    /// The number of pages of rows, empty ones included.
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

    /// Begins a generation beside the active one, in the place of whichever is there, and tells its number. One of the same model, type
    /// and lengths is gone on with.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::Lengths`] where there are none.
    pub async fn begin(&self, wanted: Generation) -> Result<u32, IndexError> {
        let Outcome::Number(number) = self.write(Write::Begin(wanted)).await? else {
            return Err(IndexError::Closed);
        };
        self.purge().await?;
        Ok(number)
    }

    /// Images of some pages of rows that lack codes in the generation beside, at least `enough` where there are as many; and the page
    /// to go on from, if any is left. What is written meanwhile may be seen or not; damaged pages are passed over.
    ///
    /// # Errors
    /// [`IndexError::Generation`] where it is not the one beside, [`IndexError::Store`].
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
                    tracing::error!(%damage, "its images get no codes of another model");
                    continue;
                }
            };
            let codes = match Store::codes(&db, standby, page) {
                // One that is damaged is made anew.
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

    /// Gives images their codes in the generation beside, where they still lack them and still have the original that these are of; how
    /// many of them got theirs.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::Generation`] where it is not the one beside.
    pub async fn recode(&self, number: u32, images: Vec<Recoded>) -> Result<usize, IndexError> {
        match self.write(Write::Recode { number, images }).await? {
            Outcome::Recoded(count) => Ok(count),
            _ => Err(IndexError::Closed),
        }
    }

    /// Has the generation beside be searched from now on, and the one searched until now stand beside it: one commit, after which each
    /// search sees the one or the other.
    ///
    /// # Errors
    /// As [`put`](Self::put), [`IndexError::Generation`] where it is not the one beside, [`IndexError::Unfinished`] where images lack codes.
    pub async fn activate(&self, number: u32) -> Result<(), IndexError> {
        self.write(Write::Activate(number)).await.map(drop)
    }

    /// Has the generation beside go, if there is one.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn discard(&self) -> Result<(), IndexError> {
        self.write(Write::Discard).await?;
        self.purge().await
    }

    /// Removes what is left of generations that are gone, with whatever else is written in between.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn purge(&self) -> Result<(), IndexError> {
        while self.0.writer.submit(|group| group.purge(PURGED)).await? {}
        Ok(())
    }
}
