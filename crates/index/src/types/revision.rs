//! What tells one state of an image from any other, and what a write may ask of it.
//! Knows rows; neither how a revision is told to callers nor what is written.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The state of an image after a write, with its codes in one generation. No other state of any image of any store has the same, and all
/// stores that follow one log have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    pub(crate) store: Uuid,
    pub(crate) generation: u32,
    /// No other image ever has it, one that is stored under the same id after this was deleted neither.
    pub(crate) sequence: u32,
    pub(crate) version: u8,
    pub(crate) updated_at_ms: u64,
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
pub struct Precondition {
    /// It is there, in one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Revisions>,
    /// It is in none of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_of: Option<Revisions>,
}

impl Precondition {
    /// Whether anything will do.
    pub fn is_anything(&self) -> bool {
        *self == Precondition::default()
    }

    /// Returns whether an image at this revision, or one that is not there, meets it.
    pub(crate) fn holds(&self, present: Option<&Revision>) -> bool {
        let have = |named: &Revisions| named.have(present);
        self.one_of.as_ref().is_none_or(have) && !self.none_of.as_ref().is_some_and(have)
    }
}
