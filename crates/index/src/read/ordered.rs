//! Lists images in the order of a field's values, page by page.

use std::cmp::Ordering;

use crate::{
    disk::{
        key::{Key, prefix},
        names,
    },
    memory::{directory::Directory, passing::Passing},
    read::{listing::Listed, reading::Reading},
    types::{
        error::IndexError,
        field::{Field, FieldType, FieldValue, word},
        query::{Cursor, Listing, SortKey},
        record::Record,
    },
};

/// If fewer than this share of all images pass, the values of all passing images are read and
/// sorted. Otherwise the values are read in order, and those of enough images are found soon.
const SORT_BELOW_SHARE: usize = 100;

/// An order of images: by the values of a field, then by age. Images without a value come last. An
/// image with several values counts with the first of them in this order.
pub struct FieldOrder<'a> {
    /// The field, which is built.
    pub field: &'a Field,
    /// True for the greatest value first.
    pub is_descending: bool,
}

impl Reading<'_> {
    /// Lists at most `limit` images that pass, from a cursor on. Returns `None` if directory and
    /// rows disagree.
    ///
    /// # Errors
    /// [`IndexError::Cursor`] if the cursor is of another order, [`IndexError::Store`],
    /// [`Corrupt`](IndexError::Corrupt).
    pub fn list_ordered(
        &mut self,
        directory: &Directory,
        passing: &Passing,
        passes: impl Fn(&Record) -> bool,
        order: &FieldOrder,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Option<Listing>, IndexError> {
        // Values are read from the directory and from names, not only from rows.
        self.voided_by_any_change = true;
        let from = after.map(|cursor| order.check(cursor)).transpose()?;
        let mut page = Page {
            listing: Listing {
                records: Vec::new(),
                next: None,
                total: passing.len() as u64,
            },
            limit,
            from: from.cloned(),
            is_consistent: true,
        };
        let is_in_values = from.is_none_or(|from| from.key != SortKey::None);
        if is_in_values {
            let db = self.db.clone();
            let all = directory.all();
            if passing.len() < all / SORT_BELOW_SHARE {
                let mut pairs = Vec::new();
                for (word, image) in directory.values_of(order.field.number, passing) {
                    pairs.push((
                        order.key_of(word, |number| names::name(&db, number))?,
                        image,
                    ));
                }
                order.sort(&mut pairs);
                for (key, image) in pairs {
                    if !page.visit(self, order, &key, image, &passes)? {
                        return Ok(page.finish());
                    }
                }
            } else {
                let is_last = self.visit_values(directory, order, &mut page, passing, &passes)?;
                if is_last {
                    return Ok(page.finish());
                }
            }
        }
        let valued = directory.with_values(order.field.number, &[word::VALUES]);
        let all = directory.all();
        let without = Passing::of(valued, true, all).and(passing, all);
        let first = from
            .filter(|_| !is_in_values)
            .map_or(0, |from| from.sequence);
        for image in directory.set_of(&without).iter_from(first) {
            if !page.visit(self, order, &SortKey::None, image, &passes)? {
                break;
            }
        }
        Ok(page.finish())
    }

    /// Visits the images of each value in order. Returns true if the page is full.
    fn visit_values(
        &mut self,
        directory: &Directory,
        order: &FieldOrder,
        page: &mut Page,
        passing: &Passing,
        passes: &impl Fn(&Record) -> bool,
    ) -> Result<bool, IndexError> {
        let field = order.field.number;
        let from = page.from.as_ref().map(|from| from.key.clone());
        let mut visit = |reading: &mut Self, key: &SortKey, word: u64| {
            for image in directory.with_value(field, word) {
                if passing.has(image) && !page.visit(reading, order, key, image, passes)? {
                    return Ok::<_, IndexError>(false);
                }
            }
            Ok(true)
        };
        if order.field.kind != FieldType::Keyword {
            let (first, last) = word::VALUES.into_inner();
            let range = match (from, order.is_descending) {
                (Some(SortKey::Word(word)), false) => word..=last,
                (Some(SortKey::Word(word)), true) => first..=word,
                _ => word::VALUES,
            };
            for word in directory.words_within(field, &range, order.is_descending) {
                if !visit(self, &SortKey::Word(word), word)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let db = self.db.clone();
        let text = match from {
            Some(SortKey::Text(text)) => Some(text),
            _ => None,
        };
        let key = |text: &str| Key::Name(text).to_bytes();
        // Other entries lie between names and the numbers of names.
        let end = vec![prefix::NAME + 1];
        let first = key(text
            .as_deref()
            .filter(|_| !order.is_descending)
            .unwrap_or_default());
        let last = text.as_deref().filter(|_| order.is_descending).map(key);
        let range: Box<dyn Iterator<Item = _>> = match last {
            Some(last) => Box::new(db.range(first..=last).rev()),
            None if order.is_descending => Box::new(db.range(first..end).rev()),
            None => Box::new(db.range(first..end)),
        };
        for entry in range {
            let (key, value) = entry?;
            // A damaged entry has no number.
            let (Some(Key::Name(name)), Ok(number)) =
                (Key::from_bytes(&key), value.as_ref().try_into())
            else {
                continue;
            };
            let word = word::of_keyword(u32::from_be_bytes(number));
            if !visit(self, &SortKey::Text(name.to_owned()), word)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A page of a listing that is being filled.
struct Page {
    listing: Listing,
    limit: usize,
    /// Where it starts.
    from: Option<Cursor>,
    /// False if directory and rows disagree.
    is_consistent: bool,
}

impl Page {
    /// Adds an image if the page has begun and the image's first value is `key`. Returns false if
    /// the page is full or inconsistent.
    fn visit(
        &mut self,
        reading: &mut Reading,
        order: &FieldOrder,
        key: &SortKey,
        sequence: u32,
        passes: &impl Fn(&Record) -> bool,
    ) -> Result<bool, IndexError> {
        if let Some(from) = &self.from
            && order
                .compare((key, sequence), (&from.key, from.sequence))
                .is_lt()
        {
            return Ok(true);
        }
        if self.listing.records.len() == self.limit {
            self.listing.next = Some(Cursor {
                key: key.clone(),
                sequence,
            });
            return Ok(false);
        }
        match reading.listed(sequence)? {
            Listed::Image(record) if passes(&record) => {
                if order.key(&record) == *key {
                    self.listing.records.push(record);
                }
            }
            Listed::Image(_) | Listed::Missing => {
                self.is_consistent = false;
                return Ok(false);
            }
            Listed::Damaged => {}
        }
        Ok(true)
    }

    fn finish(self) -> Option<Listing> {
        self.is_consistent.then_some(self.listing)
    }
}

impl FieldOrder<'_> {
    /// Checks that a cursor is of this order.
    fn check<'c>(&self, cursor: &'c Cursor) -> Result<&'c Cursor, IndexError> {
        let is_keyword = self.field.kind == FieldType::Keyword;
        match cursor.key {
            SortKey::Age => false,
            SortKey::None => true,
            SortKey::Word(_) => !is_keyword,
            SortKey::Text(_) => is_keyword,
        }
        .then_some(cursor)
        .ok_or_else(|| cursor.of_another_order())
    }

    /// The key of a word of the field.
    fn key_of(
        &self,
        word: u64,
        name: impl Fn(u32) -> Result<String, IndexError>,
    ) -> Result<SortKey, IndexError> {
        match word::keyword(word).filter(|_| self.field.kind == FieldType::Keyword) {
            Some(number) => Ok(SortKey::Text(name(number)?)),
            None => Ok(SortKey::Word(word)),
        }
    }

    /// The key of an image: its first value in this order.
    fn key(&self, record: &Record) -> SortKey {
        let values = self.field.values(record.payload.as_ref()).into_iter();
        let mut keys: Vec<SortKey> = values
            .filter_map(|value| match value {
                FieldValue::Keyword(text) => Some(SortKey::Text(text)),
                FieldValue::Word(word) => Some(SortKey::Word(word)),
                FieldValue::Null | FieldValue::NotHeld | FieldValue::Empty => None,
            })
            .collect();
        keys.sort_unstable_by(|a, b| self.compare((a, 0), (b, 0)));
        keys.into_iter().next().unwrap_or(SortKey::None)
    }

    /// Sorts values with their images, and keeps the first value of each image.
    fn sort(&self, pairs: &mut Vec<(SortKey, u32)>) {
        pairs.sort_unstable_by(|a, b| {
            let by_image = a.1.cmp(&b.1);
            by_image.then_with(|| self.compare((&a.0, a.1), (&b.0, b.1)))
        });
        pairs.dedup_by_key(|(_, image)| *image);
        pairs.sort_unstable_by(|a, b| self.compare((&a.0, a.1), (&b.0, b.1)));
    }

    fn compare(&self, a: (&SortKey, u32), b: (&SortKey, u32)) -> Ordering {
        let by_key = match (a.0, b.0) {
            (SortKey::None, SortKey::None) => Ordering::Equal,
            (SortKey::None, _) => Ordering::Greater,
            (_, SortKey::None) => Ordering::Less,
            (a, b) if self.is_descending => b.cmp(a),
            (a, b) => a.cmp(b),
        };
        by_key.then(a.1.cmp(&b.1))
    }
}
