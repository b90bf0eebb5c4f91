//! Finds the images that pass a filter.

use std::sync::Arc;

use crate::{
    disk::{
        key::{self, Key},
        names, page,
        row::Row,
    },
    memory::{directory::Directory, find::Lookup, image_set::ImageSet, passing::Passing},
    read::reading::{self, Reading},
    types::{
        error::IndexError,
        field::{Field, word},
        filter::{
            Filter,
            condition::{Condition, Property, Test, TextTest},
        },
        id::ImageId,
        record::Record,
    },
};

/// The images that pass a filter, or all images.
pub struct Filtered<'a> {
    fields: &'a [Field],
    condition: Option<Condition>,
    /// The images; `None` without a filter.
    pub passing: Option<Arc<Passing>>,
}

impl Filtered<'_> {
    /// Returns true if a record passes.
    pub fn has(&self, record: &Record) -> bool {
        let condition = self.condition.as_ref();
        condition.is_none_or(|condition| condition.holds(self.fields, &record.subject()))
    }
}

impl Reading<'_> {
    /// Returns the images that pass a filter; `None` if the caller must read again.
    ///
    /// # Errors
    /// [`IndexError::Filter`], and those of [`passing`](Self::passing).
    pub fn filtered<'a>(
        &mut self,
        directory: &'a Directory,
        filter: Option<&Filter>,
    ) -> Result<Option<Filtered<'a>>, IndexError> {
        let fields = directory.fields();
        let condition = filter.map(|filter| filter.resolve(fields)).transpose()?;
        let passing = match &condition {
            Some(condition) => match self.passing(directory, condition)? {
                Some(passing) => Some(passing),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(Filtered {
            fields,
            condition,
            passing,
        }))
    }

    /// Returns the images that meet a condition; `None` if directory and rows disagree, which makes
    /// the caller read again.
    ///
    /// # Errors
    /// [`IndexError::ManyKeywords`], [`Store`](IndexError::Store),
    /// [`Corrupt`](IndexError::Corrupt).
    fn passing(
        &mut self,
        directory: &Directory,
        condition: &Condition,
    ) -> Result<Option<Arc<Passing>>, IndexError> {
        let mut lookup = StoreLookup {
            directory,
            reading: self,
        };
        match directory.passing(condition, &mut lookup) {
            Ok(passing) => Ok(Some(passing)),
            Err(Failure::Inconsistent) => Ok(self.retry()),
            Err(Failure::Error(error)) => Err(error),
        }
    }
}

/// Why no images are found.
enum Failure {
    /// Directory and rows disagree; read again.
    Inconsistent,
    Error(IndexError),
}

impl From<IndexError> for Failure {
    fn from(error: IndexError) -> Self {
        Failure::Error(error)
    }
}

/// Looks names, ids and times up in the store.
struct StoreLookup<'a, 'b> {
    directory: &'a Directory,
    reading: &'a mut Reading<'b>,
}

impl Lookup for StoreLookup<'_, '_> {
    type Error = Failure;

    fn numbers(&mut self, test: &TextTest) -> Result<Vec<u32>, Failure> {
        let db = &self.reading.db;
        if let TextTest::OneOf(names) = test {
            let numbers = names.iter().map(|name| names::number(db, name));
            let numbers: Result<_, IndexError> = numbers.filter_map(Result::transpose).collect();
            return Ok(numbers?);
        }
        Ok(names::numbers(db, test)?)
    }

    fn images(&mut self, property: Property, test: &Test) -> Result<ImageSet, Failure> {
        match (property, test) {
            (Property::Id, Test::Text(TextTest::OneOf(ids))) => self.with_ids(ids),
            (Property::Id, Test::Text(test)) => {
                self.scan(|row| test.passes(ImageId::from(row.id.clone()).as_str()))
            }
            (Property::CreatedAt, Test::Words(words)) => self.scan(|row| {
                words
                    .iter()
                    .any(|range| range.contains(&word::of_milliseconds(row.created_at_ms)))
            }),
            (Property::UpdatedAt, Test::Words(words)) => self.scan(|row| {
                words
                    .iter()
                    .any(|range| range.contains(&word::of_milliseconds(row.updated_at_ms())))
            }),
            // A filter is not resolved to any other test of these.
            _ => Ok(ImageSet::EMPTY),
        }
    }
}

impl StoreLookup<'_, '_> {
    fn with_ids(&mut self, ids: &[String]) -> Result<ImageSet, Failure> {
        let mut images = Vec::new();
        for id in ids.iter().filter_map(|id| id.parse::<ImageId>().ok()) {
            match self.reading.sequence_of(self.directory, &id)? {
                reading::Lookup::Found(image) => images.push(image),
                reading::Lookup::Absent => {}
                reading::Lookup::Inconsistent => return Err(Failure::Inconsistent),
            }
        }
        Ok(ImageSet::from_unsorted(images))
    }

    /// The images whose row passes a test. Reads all rows.
    fn scan(&mut self, passes: impl Fn(&Row) -> bool) -> Result<ImageSet, Failure> {
        self.reading.voided_by_any_change = true;
        let mut images = Vec::new();
        for entry in self.reading.db.range(key::rows(0..u32::MAX)) {
            let (key, value) = entry.map_err(IndexError::from)?;
            // Damage of this page was reported when the store was opened.
            if let Some(Key::Rows(number)) = Key::from_bytes(&key)
                && let Ok(rows) = page::decode_slots::<Row>(&value)
            {
                let rows = rows.iter().filter(|(_, row)| passes(row));
                images.extend(rows.map(|(slot, _)| number * page::SLOTS + u32::from(*slot)));
            }
        }
        if self.reading.may_have_changed() {
            return Err(Failure::Inconsistent);
        }
        // An image with a damaged code page has a row, but is not in the directory.
        Ok(ImageSet::from_unsorted(images).and(&self.directory.every()))
    }
}
