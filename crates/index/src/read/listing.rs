//! Lists images in order of age, page by page: all of them, or those with certain labels.

use crate::{
    disk::{
        key::{self, Key},
        page,
    },
    memory::filter::Filter,
    read::reading::{Reading, has_any},
    types::{
        error::IndexError,
        query::{Cursor, Listing},
        record::Record,
    },
};

impl Reading<'_> {
    /// Lists at most `limit` images from a sequence number on.
    pub fn list(&mut self, from: u32, limit: usize) -> Result<Option<Listing>, IndexError> {
        // The rows do not vouch for the total.
        self.voided_by_any_change = true;
        let mut records = Vec::new();
        let total = self.images;
        let pages = key::rows(page::page_and_slot(from).0..u32::MAX);
        for entry in self.db.range(pages) {
            let Some(Key::Rows(number)) = Key::from_bytes(&entry?.0) else {
                continue;
            };
            for slot in 0..page::SLOTS {
                let sequence = number * page::SLOTS + slot;
                if sequence < from {
                    continue;
                }
                let Some(record) = self.listed(sequence)?.flatten() else {
                    continue;
                };
                if records.len() == limit {
                    return Ok(Some(Listing {
                        records,
                        next: Some(Cursor(sequence)),
                        total,
                    }));
                }
                records.push(record);
            }
        }
        Ok(Some(Listing {
            records,
            next: None,
            total,
        }))
    }

    /// Lists at most `limit` images from a sequence number on, of those that pass a label filter.
    /// Returns `None` if a row contradicts the filter.
    pub fn list_filtered(
        &mut self,
        filter: &Filter,
        labels: &[u32],
        from: u32,
        limit: usize,
    ) -> Result<Option<Listing>, IndexError> {
        let all = filter.sequences();
        let mut listing = Listing {
            records: Vec::new(),
            next: None,
            total: all.len() as u64,
        };
        for &sequence in &all[all.partition_point(|&sequence| sequence < from)..] {
            let record = match self.listed(sequence)? {
                Some(Some(record)) => record,
                Some(None) => return Ok(None),
                None => continue,
            };
            if !(self.row(sequence)?).is_some_and(|row| has_any(&row, labels)) {
                return Ok(None);
            }
            if listing.records.len() == limit {
                listing.next = Some(Cursor(sequence));
                break;
            }
            listing.records.push(record);
        }
        Ok(Some(listing))
    }

    /// Reads a record for a listing. Returns `None` if it is damaged, `Some(None)` if it does not
    /// exist.
    pub fn listed(&mut self, sequence: u32) -> Result<Option<Option<Record>>, IndexError> {
        match self.record(sequence) {
            Ok(record) => Ok(Some(record)),
            Err(IndexError::Corrupt { what, why }) => {
                tracing::error!(what, why, "a damaged image is left out of a listing");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
