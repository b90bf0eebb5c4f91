//! What can be wrong with a filter.

use crate::types::field::FieldPath;

/// The maximum length of a filter's text in bytes.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// Why a filter cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is empty or white space.
    #[error(
        r#"the filter is empty; write a condition such as price < 50 AND brand = "x", or leave the filter out"#
    )]
    Empty,
    /// The text is too long.
    #[error("the filter has {bytes} bytes; the maximum is {}", MAX_BYTES)]
    TooLong {
        /// The length of the text.
        bytes: usize,
    },
    /// The canonical text is too long, although the given text is not.
    #[error(
        "the filter has {bytes} bytes once numbers, escapes and spaces are written in full; the \
         maximum is {}",
        MAX_BYTES
    )]
    TooLongInFull {
        /// The length of the canonical text.
        bytes: usize,
    },
    /// The filter breaks a rule of the language, exceeds a limit, or compares a field with a value
    /// of another type.
    #[error("the filter is wrong at column {column}: {message}")]
    Wrong {
        /// The column of the error, in characters from 1.
        column: usize,
        /// What was wrong, then what would be right.
        message: String,
    },
    /// The filter tests a field that is not declared.
    #[error("the filter is wrong at column {column}: {message}")]
    Undeclared {
        /// The column of the field, in characters from 1.
        column: usize,
        /// The path of the field.
        path: FieldPath,
        /// What was wrong, then what would be right.
        message: String,
    },
    /// The filter tests a declared field whose values are not held yet.
    #[error(
        "the filter is wrong at column {column}: the field '{path}' is being built; try again when \
         GET /admin/fields shows it as built"
    )]
    NotBuilt {
        /// The column of the field, in characters from 1.
        column: usize,
        /// The path of the field.
        path: FieldPath,
    },
}

impl FilterError {
    /// Creates a [`FilterError::Wrong`].
    pub(super) fn wrong(column: usize, message: impl Into<String>) -> Self {
        FilterError::Wrong {
            column,
            message: message.into(),
        }
    }

    /// The column of the error, in characters from 1.
    pub fn column(&self) -> usize {
        match *self {
            FilterError::Empty
            | FilterError::TooLong { .. }
            | FilterError::TooLongInFull { .. } => 1,
            FilterError::Wrong { column, .. }
            | FilterError::Undeclared { column, .. }
            | FilterError::NotBuilt { column, .. } => column,
        }
    }
}
