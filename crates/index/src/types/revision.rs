//! What tells one state of an image from any other, and what a write may ask of it.
//! Knows rows; neither how a revision is told to callers nor what is written.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::types::{
    error::IndexError,
    record::{ImageId, Row},
};

/// The state of an image after a write, with its codes in one generation. No other state of any image of any store has the same, and all
/// stores that follow one log have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    store: Uuid,
    generation: u32,
    /// No other image ever has it, one that is stored under the same id after this was deleted neither.
    sequence: u32,
    version: u8,
    updated_at_ms: u64,
}

impl Revision {
    /// That of a row, with its codes in a generation.
    pub(crate) fn of(store: Uuid, generation: u32, sequence: u32, row: &Row) -> Self {
        Revision {
            store,
            generation,
            sequence,
            version: row.version,
            updated_at_ms: row.updated_at_ms(),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Revision {
            store,
            generation,
            sequence,
            version,
            updated_at_ms,
        } = self;
        write!(
            f,
            "{store}/{generation:x}-{sequence:x}-{version:x}-{updated_at_ms:x}"
        )
    }
}

/// Revisions that a caller names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revisions {
    /// Whichever there is.
    Any,
    /// Those that read as one of these.
    These(Vec<String>),
}

impl Revisions {
    fn have(&self, present: Option<&Revision>) -> bool {
        match (self, present) {
            (_, None) => false,
            (Revisions::Any, Some(_)) => true,
            (Revisions::These(named), Some(present)) => named.contains(&present.to_string()),
        }
    }
}

/// What an image has to be for a write of it to be done; by default, anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// It is there, in one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Revisions>,
    /// It is in none of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_of: Option<Revisions>,
}

impl Expected {
    /// Whether anything will do.
    pub fn is_anything(&self) -> bool {
        *self == Expected::default()
    }

    /// Compares it with what there is.
    pub(crate) fn check(&self, id: &ImageId, present: Option<Revision>) -> Result<(), IndexError> {
        let have = |named: &Revisions| named.have(present.as_ref());
        match self.one_of.as_ref().is_none_or(have) && !self.none_of.as_ref().is_some_and(have) {
            true => Ok(()),
            false => Err(IndexError::Unexpected {
                id: id.clone(),
                present,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::types::record::PackedId;

    #[test]
    fn no_state_comes_again_whatever_the_clocks_say() {
        let mut row = Row {
            id: PackedId::Text("a".to_owned()),
            version: 0,
            payload: false,
            labels: Vec::new(),
            media_type: 0,
            bytes: 0,
            original: None,
            created_at_ms: 1_000_000,
            updated_after_ms: 0,
        };
        let mut seen = BTreeSet::new();
        for at_ms in [0, 999_000, 1_000_000, 1_000_005, 1_000_002].repeat(600) {
            (row.version, row.updated_after_ms) = row.after(at_ms);
            assert!(seen.insert(Revision::of(Uuid::nil(), 1, 0, &row).to_string()));
        }
    }
}
