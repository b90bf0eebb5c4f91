//! The resolved form of a filter, and its evaluation against one image.

use std::ops::{Bound, RangeInclusive};

use serde_json::Value;

use crate::types::{
    field::{Field, FieldValue, word},
    id::ImageId,
};

/// A condition that an image meets or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// All of these hold.
    All(Vec<Condition>),
    /// One of these holds.
    Any(Vec<Condition>),
    /// This does not hold.
    Not(Box<Condition>),
    /// One of the property's values passes the test.
    Has(Property, Test),
}

/// What an image has values of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Property {
    /// The field with this number; see [`Field::number`].
    Field(u32),
    /// The labels.
    Labels,
    /// The id.
    Id,
    /// The time of creation; see [`word::of_milliseconds`].
    CreatedAt,
    /// The time of the last change; see [`word::of_milliseconds`].
    UpdatedAt,
}

/// A test of one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// Every value passes, also null.
    Exists,
    /// The value's word is in one of these ranges, which are ascending and disjoint and do not
    /// adjoin; see [`word`]. There may be none.
    Words(Vec<RangeInclusive<u64>>),
    /// The value is a text that passes.
    Text(TextTest),
}

/// A test of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextTest {
    /// It is one of these, which are in NFC, ascending and distinct.
    OneOf(Vec<String>),
    /// It is between these, which are in NFC, by code points.
    Range {
        /// The lower bound.
        from: Bound<String>,
        /// The upper bound.
        to: Bound<String>,
    },
    /// It starts with this, which is in NFC.
    Prefix(String),
}

/// An image to evaluate a condition against.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its id.
    pub id: &'a ImageId,
    /// Its labels, in NFC.
    pub labels: &'a [String],
    /// Its payload.
    pub payload: Option<&'a Value>,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

impl Condition {
    /// Returns true if an image meets the condition. A field that is not among `fields` has no
    /// values.
    pub fn holds(&self, fields: &[Field], subject: &Subject) -> bool {
        match self {
            Condition::All(parts) => parts.iter().all(|part| part.holds(fields, subject)),
            Condition::Any(parts) => parts.iter().any(|part| part.holds(fields, subject)),
            Condition::Not(part) => !part.holds(fields, subject),
            Condition::Has(property, test) => match *property {
                Property::Field(number) => fields
                    .iter()
                    .filter(|field| field.number == number)
                    .flat_map(|field| field.values(subject.payload))
                    .any(|value| test.passes(&value)),
                Property::Labels => subject.labels.iter().any(|label| test.passes_text(label)),
                Property::Id => test.passes_text(subject.id.as_str()),
                Property::CreatedAt => {
                    test.passes_word(word::of_milliseconds(subject.created_at_ms))
                }
                Property::UpdatedAt => {
                    test.passes_word(word::of_milliseconds(subject.updated_at_ms))
                }
            },
        }
    }
}

impl Test {
    fn passes(&self, value: &FieldValue) -> bool {
        match value {
            FieldValue::Null => self.passes_word(word::NULL),
            FieldValue::NotHeld => self.passes_word(word::NOT_HELD),
            FieldValue::Empty => self.passes_word(word::EMPTY),
            FieldValue::Keyword(text) => self.passes_text(text),
            FieldValue::Word(word) => self.passes_word(*word),
        }
    }

    /// Returns true if a word passes.
    pub fn passes_word(&self, word: u64) -> bool {
        match self {
            Test::Exists => true,
            Test::Words(ranges) => {
                let next = ranges.partition_point(|range| *range.end() < word);
                ranges.get(next).is_some_and(|range| range.contains(&word))
            }
            Test::Text(_) => false,
        }
    }

    fn passes_text(&self, text: &str) -> bool {
        match self {
            Test::Exists => true,
            Test::Words(_) => false,
            Test::Text(test) => test.passes(text),
        }
    }
}

impl TextTest {
    /// Returns true if a text in NFC passes.
    pub fn passes(&self, text: &str) -> bool {
        match self {
            TextTest::OneOf(texts) => texts.binary_search_by(|one| one.as_str().cmp(text)).is_ok(),
            TextTest::Range { from, to } => {
                let is_above = match from {
                    Bound::Included(from) => text >= from.as_str(),
                    Bound::Excluded(from) => text > from.as_str(),
                    Bound::Unbounded => true,
                };
                let is_below = match to {
                    Bound::Included(to) => text <= to.as_str(),
                    Bound::Excluded(to) => text < to.as_str(),
                    Bound::Unbounded => true,
                };
                is_above && is_below
            }
            TextTest::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }
}
