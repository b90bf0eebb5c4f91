//! Lists images in order of age.

use crate::{
    api::Index,
    types::{
        error::IndexError,
        query::{Cursor, Listing},
    },
};

impl Index {
    /// Returns at most `limit` images in order of age, from a cursor or from the oldest; only
    /// images with any of `labels` unless it is empty. Damaged pages are skipped.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn list(
        &self,
        labels: &[String],
        from: Option<Cursor>,
        limit: usize,
    ) -> Result<Listing, IndexError> {
        let Cursor(from) = from.unwrap_or_default();
        let store = &self.0.store;
        store.read_consistent(None, |directory, reading| {
            if labels.is_empty() {
                return reading.list(from, limit);
            }
            let numbers = reading.numbers(labels)?;
            reading.list_filtered(&directory.labelled(&numbers), &numbers, from, limit)
        })
    }
}
