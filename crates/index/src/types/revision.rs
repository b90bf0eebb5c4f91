//! Revisions of images, and the preconditions that writes place on them.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The state of an image after a write, with its codes in one generation. No other state of any
/// image in any store has the same revision. All stores that follow one log have the same
/// revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    pub(crate) store: Uuid,
    pub(crate) generation: u32,
    /// Never used again, not even for an image stored under the same id after this one is deleted.
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

/// A set of revisions in a precondition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revisions {
    /// Every revision.
    Any,
    /// The revisions with these text forms.
    These(Vec<String>),
}

impl Revisions {
    fn contains(&self, present: Option<&Revision>) -> bool {
        match (self, present) {
            (_, None) => false,
            (Revisions::Any, Some(_)) => true,
            (Revisions::These(named), Some(present)) => named.contains(&present.to_string()),
        }
    }
}

/// A precondition of a write. The default one always holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precondition {
    /// The image exists and has one of these revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Revisions>,
    /// The image does not exist or has none of these revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none_of: Option<Revisions>,
    /// The image exists and passes the filter with this text form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<String>,
}

impl Precondition {
    /// Returns true if it always holds.
    pub fn is_empty_condition(&self) -> bool {
        *self == Precondition::default()
    }

    /// Returns true if an image at this revision meets the part about revisions; `None` means that
    /// the image does not exist. Leaves the filter to the caller.
    pub(crate) fn holds(&self, present: Option<&Revision>) -> bool {
        let contains = |named: &Revisions| named.contains(present);
        self.one_of.as_ref().is_none_or(contains) && !self.none_of.as_ref().is_some_and(contains)
    }
}
