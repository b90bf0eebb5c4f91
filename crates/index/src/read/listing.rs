//! Lists images in order of age, page by page: all of them, or those with certain labels.

use crate::{
    disk::{
        key::{self, Key},
        page,
    },
    memory::image_set::ImageSet,
    read::reading::Reading,
    types::{
        error::IndexError,
        query::{Cursor, Listing},
        record::Record,
    },
};

/// An image read for a listing.
#[expect(
    clippy::large_enum_variant,
    reason = "callers take it apart at once, so a box would only cost an allocation"
)]
pub enum Listed {
    /// It exists.
    Image(Record),
    /// It does not exist.
    Missing,
    /// It cannot be read, and is left out.
    Damaged,
}

impl Listed {
    /// The image, if it exists and can be read.
    pub fn image(self) -> Option<Record> {
        match self {
            Listed::Image(record) => Some(record),
            Listed::Missing | Listed::Damaged => None,
        }
    }
}

impl Reading<'_> {
    /// Lists at most `limit` images from a sequence number on.
    pub fn list(&mut self, from: u32, limit: usize) -> Result<Option<Listing>, IndexError> {
        // The total can change without a change of these rows, so any change voids the reading.
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
                let Some(record) = self.listed(sequence)?.image() else {
                    continue;
                };
                if records.len() == limit {
                    return Ok(Some(Listing {
                        records,
                        next: Some(Cursor::by_age(sequence)),
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

    /// Lists at most `limit` images from a sequence number on, of those in a set. Returns `None` if
    /// a record does not pass.
    pub fn list_set(
        &mut self,
        set: &ImageSet,
        passes: impl Fn(&Record) -> bool,
        from: u32,
        limit: usize,
    ) -> Result<Option<Listing>, IndexError> {
        let mut listing = Listing {
            records: Vec::new(),
            next: None,
            total: set.len() as u64,
        };
        for sequence in set.iter_from(from) {
            if listing.records.len() == limit {
                listing.next = Some(Cursor::by_age(sequence));
                break;
            }
            match self.listed(sequence)? {
                Listed::Image(record) if passes(&record) => listing.records.push(record),
                Listed::Image(_) | Listed::Missing => return Ok(None),
                Listed::Damaged => {}
            }
        }
        Ok(Some(listing))
    }

    /// Reads an image for a listing. Damage of it is not an error.
    pub fn listed(&mut self, sequence: u32) -> Result<Listed, IndexError> {
        match self.record(sequence) {
            Ok(record) => Ok(record.map_or(Listed::Missing, Listed::Image)),
            Err(IndexError::Corrupt { what, why }) => {
                tracing::error!(what, why, "a damaged image is left out of a listing");
                Ok(Listed::Damaged)
            }
            Err(error) => Err(error),
        }
    }
}
