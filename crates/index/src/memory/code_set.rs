//! Codes of one length in memory, without a store, searched with the directory of the index. For
//! benchmarks and tools. An image is the index of its code in the given list.

use std::{convert::Infallible, sync::Arc};

use crate::{
    code::{HashCode, Length},
    memory::{
        codes::Codes,
        column::Column,
        directory::Directory,
        find::Lookup,
        image_set::ImageSet,
        passing::Passing,
        probe::Kind,
        segment::Segment,
        selection::{Hit, Span},
    },
    types::{
        field::{Decimal, Field, FieldPath, FieldType, Place, word},
        filter::{
            Filter,
            condition::{Condition, Property, Test, TextTest},
            error::FilterError,
        },
    },
};

/// Codes of one length in memory, searched with the directory of the index.
pub struct CodeSet(Directory);

/// The values of a field, image 0 first.
pub enum FieldValues {
    /// Keywords: the decimal digits of numbers.
    Keyword(Vec<u32>),
    /// Integers, at most 10¹⁸.
    Integer(Vec<i64>),
    /// Numbers, not NaN.
    Number(Vec<f64>),
}

impl FieldValues {
    fn kind(&self) -> FieldType {
        match self {
            FieldValues::Keyword(_) => FieldType::Keyword,
            FieldValues::Integer(_) => FieldType::Integer,
            FieldValues::Number(_) => FieldType::Number,
        }
    }

    fn words(&self) -> Vec<u64> {
        match self {
            FieldValues::Keyword(numbers) => numbers
                .iter()
                .map(|&number| word::of_keyword(number))
                .collect(),
            FieldValues::Integer(values) => {
                let place = |&value: &i64| Place::of_integer(&Decimal::Whole(value.into())).word;
                values.iter().map(place).collect()
            }
            FieldValues::Number(values) => {
                let place = |&value: &f64| Place::of_number(&Decimal::Float(value)).word;
                values.iter().map(place).collect()
            }
        }
    }
}

/// A filter that suits the fields of a set.
pub struct SetFilter(Condition);

impl CodeSet {
    /// Creates the set from codes as words, image 0 first; at most 2³² − 1.
    pub fn new(length: Length, words: Vec<u64>) -> Self {
        CodeSet::with_fields(length, words, Vec::new())
    }

    /// The same with fields, each of one value for each image.
    pub fn with_fields(
        length: Length,
        words: Vec<u64>,
        fields: Vec<(FieldPath, FieldValues)>,
    ) -> Self {
        let images = words.len() as u64;
        let mut codes = Codes::new([length]);
        for (image, &word) in (0..).zip(&words) {
            codes.insert(image, 0, word);
        }
        let ids: Vec<u64> = (0..images).collect();
        let declared = (0..).zip(&fields).map(|(number, (path, values))| Field {
            number,
            path: path.clone(),
            kind: values.kind(),
            built: true,
        });
        let empty = Directory::new(&[length], declared.collect());
        let none = |kind: &Kind| Arc::new(Column::from_sorted(*kind, &[]));
        let sorted = |kind: Kind, words: Vec<u64>| {
            let mut pairs: Vec<(u64, u32)> = words.into_iter().zip(0..).collect();
            pairs.sort_unstable();
            Arc::new(Column::from_sorted(kind, &pairs))
        };
        let mut added = vec![
            sorted(Kind::Codes(length), words),
            none(&Kind::Labels),
            sorted(Kind::Ids, ids),
        ];
        let values = fields.into_iter().map(|(_, values)| values.words());
        added.extend(values.map(|words| sorted(Kind::Field, words)));
        let segment = Segment {
            added,
            removed: empty.kinds().iter().map(none).collect(),
        };
        let distinct = empty.distinct_after(&segment);
        CodeSet(empty.with_codes(Arc::new(segment), distinct, images, codes))
    }

    /// The number of distinct codes.
    pub fn distinct(&self) -> u64 {
        self.0.distinct().map(|(_, distinct)| distinct).sum()
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Adds all images within a radius to a list, by distance, then code, then age.
    pub fn ids(&self, code: &HashCode, radius: u32, into: &mut Vec<u32>) {
        if let Ok(ball) = self.0.within(code, radius) {
            ball.sequences(into);
        }
    }

    /// Returns the number of images within a radius, and the first `limit` of them with their
    /// distances.
    pub fn counted(&self, code: &HashCode, radius: u32, limit: usize) -> (u64, Vec<(u32, u32)>) {
        let ball = self.0.within(code, radius);
        let found = ball.map(|ball| ball.select(Span::page(0, limit)));
        let found = found.unwrap_or_default();
        (found.total, Self::pairs(&found.hits))
    }

    /// Returns the `limit` nearest images with their distances.
    pub fn nearest(&self, code: &HashCode, limit: usize) -> Vec<(u32, u32)> {
        let ball = self.0.nearest(code, limit as u64);
        let found = ball.map(|ball| ball.select(Span::page(0, limit)));
        Self::pairs(&found.unwrap_or_default().hits)
    }

    /// Checks a filter against the fields.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn filter(&self, filter: &Filter) -> Result<SetFilter, FilterError> {
        filter.resolve(self.0.fields()).map(SetFilter)
    }

    /// Removes what is kept of filters.
    pub fn forget_filters(&self) {
        self.0.cache().0.clear();
    }

    /// The number of images that pass a filter.
    pub fn count(&self, filter: &SetFilter) -> usize {
        self.passing(filter).len()
    }

    /// Returns the number of passing images within a radius, or at any distance, and the first
    /// `limit` of them with their distances.
    pub fn search(
        &self,
        code: &HashCode,
        radius: Option<u32>,
        filter: &SetFilter,
        limit: usize,
    ) -> (u64, Vec<(u32, u32)>) {
        let passing = self.passing(filter);
        let found = self
            .0
            .select(code, radius, Some(&passing), Span::page(0, limit));
        let found = found.unwrap_or_default();
        (found.total, Self::pairs(&found.hits))
    }

    fn passing(&self, filter: &SetFilter) -> Arc<Passing> {
        let Ok(passing) = self.0.passing(&filter.0, &mut NoStore);
        passing
    }

    fn pairs(hits: &[Hit]) -> Vec<(u32, u32)> {
        let pairs = hits.iter().map(|hit| (hit.sequence, hit.distance));
        pairs.collect()
    }
}

/// Keywords are numbers, and images have no other properties.
struct NoStore;

impl Lookup for NoStore {
    type Error = Infallible;

    fn numbers(&mut self, test: &TextTest) -> Result<Vec<u32>, Infallible> {
        let TextTest::OneOf(names) = test else {
            return Ok(Vec::new());
        };
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn images(&mut self, _: Property, _: &Test) -> Result<ImageSet, Infallible> {
        Ok(ImageSet::EMPTY)
    }
}
