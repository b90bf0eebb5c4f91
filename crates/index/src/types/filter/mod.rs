//! The filter language: conditions on the members of payloads, labels, ids and times.
//!
//! - `error`: what can be wrong with a filter
//! - `literal`: the values that fields are compared with
//! - `token`: splits a text into words, values and symbols
//! - `expression`: a parsed filter, and its canonical text
//! - `hints`: says what would be right
//! - `value`: parses values and lists of values
//! - `parse`: the grammar
//! - `resolve`: finds the fields of a filter and checks its values against their types
//! - `suggest`: says what to do about an undeclared field
//! - `condition`: the resolved form, and its evaluation against one image

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::types::{
    field::{Field, FieldPath},
    filter::{
        condition::Condition,
        error::FilterError,
        expression::{Clause, Expression, Located, Name, Operator},
        literal::Literal,
    },
};

pub mod condition;
pub mod error;
mod expression;
mod hints;
mod literal;
mod parse;
mod resolve;
mod suggest;
#[cfg(test)]
mod tests;
mod token;
mod value;

/// A filter: a condition that an image meets or not, such as `price < 50 AND brand != "x"`.
///
/// Filters are equal if they make the same comparisons in the same order, however they are written.
/// In JSON, a filter is its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter(Expression);

impl Filter {
    /// The maximum length of a filter's text in bytes.
    pub const MAX_BYTES: usize = error::MAX_BYTES;

    /// Creates the filter for the images with any of some labels. `None` if there are no labels.
    ///
    /// The limits of texts do not apply. If they are exceeded, the text of the filter does not
    /// parse.
    pub fn any_label(labels: Vec<String>) -> Option<Filter> {
        if labels.is_empty() {
            return None;
        }
        let values = labels
            .iter()
            .map(|label| Located::new(Literal::text(label), 1));
        Some(Filter(Expression::Clause(Clause {
            name: Located::new(Name::Labels, 1),
            operator: Operator::In(values.collect()),
        })))
    }

    /// Creates the filter for the images that pass both.
    ///
    /// The limits of texts do not apply. If they are exceeded, the text of the filter does not
    /// parse.
    pub fn and(self, other: Filter) -> Filter {
        Filter(Expression::all(vec![self.0, other.0]))
    }

    /// Returns the paths of the payload fields that it tests, ascending, each once.
    pub fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        let mut paths = BTreeSet::new();
        self.0.visit(&mut |clause| match &clause.name.value {
            Name::Field(path) => {
                paths.insert(path);
            }
            Name::Labels | Name::Id | Name::CreatedAt | Name::UpdatedAt => {}
        });
        paths.into_iter()
    }

    /// Finds the fields of the filter among the declared ones, and checks its values against their
    /// types.
    ///
    /// # Errors
    /// [`FilterError::Undeclared`] and [`FilterError::NotBuilt`] if a field cannot be used;
    /// [`FilterError::Wrong`] if a value or an operator is not for the field's type.
    pub(crate) fn resolve(&self, fields: &[Field]) -> Result<Condition, FilterError> {
        resolve::expression(&self.0, fields)
    }
}

/// Finds a built field by its path.
///
/// # Errors
/// A text that says why there is none, and what would be right.
pub(crate) fn usable_field<'a>(fields: &'a [Field], path: &FieldPath) -> Result<&'a Field, String> {
    match fields.iter().find(|field| field.path == *path) {
        Some(field) if field.built => Ok(field),
        Some(_) => Err(format!(
            "the field '{path}' is being built; try again when GET /admin/fields shows it as built"
        )),
        None => Err(suggest::undeclared(path, &Operator::Exists, fields)),
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    /// Parses a filter. A text is refused too if its canonical form is longer than
    /// [`Filter::MAX_BYTES`], so the text of every parsed filter parses again.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.len() > Self::MAX_BYTES {
            return Err(FilterError::TooLong { bytes: text.len() });
        }
        let filter = Filter(parse::parse(text)?);
        let mut length = Length(0);
        // Counting bytes cannot fail.
        let _ = write!(length, "{filter}");
        match length {
            Length(bytes) if bytes > Self::MAX_BYTES => Err(FilterError::TooLongInFull { bytes }),
            Length(_) => Ok(filter),
        }
    }
}

/// Counts the bytes that are written to it.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Writes the canonical text, which parses back to an equal filter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Filter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}
