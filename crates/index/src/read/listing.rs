//! Images in order of age, a page at a time: all of them, or those of some labels.
//! Knows pages of rows and what passes a filter; not who asks.

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
    /// At most `limit` images from a sequence number on.
    pub fn list(&mut self, from: u32, limit: usize) -> Result<Option<Listing>, IndexError> {
        // The rows do not say how many there were when the total was.
        self.loose = true;
        let mut records = Vec::new();
        let total = self.images;
        let pages = key::rows(page::place(from).0..u32::MAX);
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

    /// At most `limit` images from a sequence number on, of those that pass a filter, which have one of some labels; none where rows say
    /// otherwise than the filter.
    pub fn list_of(
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

    /// A record for a listing, if there is one: the outer option is none where it is damaged.
    pub fn listed(&mut self, sequence: u32) -> Result<Option<Option<Record>>, IndexError> {
        match self.record(sequence) {
            Ok(record) => Ok(Some(record)),
            Err(IndexError::Corrupt { what, why }) => {
                tracing::error!(what, why, "left out of a listing");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
