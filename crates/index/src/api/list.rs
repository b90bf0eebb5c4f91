//! Lists images in order of age or of a field's values.

use crate::{
    api::Index,
    memory::passing::Passing,
    read::ordered::FieldOrder,
    types::{
        error::IndexError,
        filter::usable_field,
        query::{ListQuery, Listing, SortKey},
        record::Record,
    },
};

impl Index {
    /// Returns a page of the images that pass the filter, in the requested order. Damaged pages are
    /// skipped. An image that changes while a caller reads page by page may be listed twice or not
    /// at all, every other one exactly once.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`IndexError::Filter`],
    /// [`ManyKeywords`](IndexError::ManyKeywords), [`Cursor`](IndexError::Cursor) if the cursor is
    /// of another order.
    pub fn list(&self, query: &ListQuery) -> Result<Listing, IndexError> {
        let ListQuery {
            filter,
            order_by,
            after,
            limit,
        } = query;
        let store = &self.0.store;
        store.read_consistent(None, |directory, reading| {
            let Some(filtered) = reading.filtered(directory, filter.as_ref())? else {
                return Ok(None);
            };
            let passes = |record: &Record| filtered.has(record);
            let passing = filtered.passing.clone();
            if let Some(order_by) = order_by {
                let order = FieldOrder {
                    field: usable_field(directory.fields(), &order_by.path)
                        .map_err(|why| IndexError::Order { why })?,
                    is_descending: order_by.is_descending,
                };
                let passing = passing.unwrap_or_else(|| Passing::all(directory.all()).into());
                let after = after.as_ref();
                return reading.list_ordered(directory, &passing, passes, &order, after, *limit);
            }
            let from = match after {
                None => 0,
                Some(cursor) if cursor.key == SortKey::Age => cursor.sequence,
                Some(cursor) => return Err(cursor.of_another_order()),
            };
            match passing {
                Some(passing) => {
                    reading.list_set(&directory.set_of(&passing), passes, from, *limit)
                }
                None => reading.list(from, *limit),
            }
        })
    }
}
