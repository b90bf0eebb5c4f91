//! Records put together from what is stored apart: the record of an id, and its codes in a page.
//! Reads only; the caller holds the directory still meanwhile, or the two may belong to different writes.

use std::collections::HashMap;

use crate::code::HashCode;

use super::{
    Match,
    error::IndexError,
    page::{self, Page},
    probe::Hit,
    record::{ImageId, Record, Stored},
    store::Store,
};

/// The pages that one read has needed so far, so that neighbours in a page decode it once.
pub struct Pages<'a> {
    store: &'a Store,
    seen: HashMap<u64, Page>,
}

impl<'a> Pages<'a> {
    /// None read yet.
    pub fn of(store: &'a Store) -> Self {
        let seen = HashMap::new();
        Pages { store, seen }
    }

    fn page(&mut self, sequence: u64) -> Result<&Page, IndexError> {
        let (number, _) = page::place(sequence);
        if !self.seen.contains_key(&number) {
            self.seen.insert(number, self.store.page(number)?);
        }
        Ok(self.seen.entry(number).or_default())
    }

    /// The image of a record.
    pub fn record(&mut self, id: ImageId, stored: Stored) -> Result<Record, IndexError> {
        let store = self.store;
        let codes = store.codes(self.page(stored.sequence)?, &id, &stored)?;
        Ok(stored.into_record(id, codes))
    }

    /// The image of a hit of a search by `code`.
    pub fn found(&mut self, code: &HashCode, hit: &Hit) -> Result<Match, IndexError> {
        let record = self.image(hit.sequence)?;
        let own = record
            .codes
            .iter()
            .find(|own| own.distance(code) == Some(hit.distance));
        Ok(Match {
            distance: hit.distance,
            code: *own.ok_or_else(|| self.astray(hit.sequence))?,
            record,
        })
    }

    fn image(&mut self, sequence: u64) -> Result<Record, IndexError> {
        let slot = self.page(sequence)?.0.get(&page::place(sequence).1);
        let id = slot
            .map(|slot| slot.id.clone())
            .ok_or_else(|| self.astray(sequence))?;
        match self.store.record(&id)? {
            Some(stored) if stored.sequence == sequence => self.record(id, stored),
            _ => Err(self.astray(sequence)),
        }
    }

    fn astray(&self, sequence: u64) -> IndexError {
        let (number, slot) = page::place(sequence);
        self.store.page_corrupt(
            number,
            &format!("its slot {slot} is not the image the directory has there"),
        )
    }
}
