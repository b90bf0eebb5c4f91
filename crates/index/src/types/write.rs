//! Writes as the log stores them, and their outcomes. Stores that apply the same writes in the same
//! order are equal, however the writes are grouped.

use std::{future::Future, ops::Range, pin::Pin};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    code::HashCode,
    types::{
        error::IndexError,
        field::{Field, FieldPath, FieldType},
        generation::Generation,
        id::{ImageId, OriginalKey},
        record::{NewImage, Record, Times},
        revision::Precondition,
        sketch::Sketch,
    },
};

/// A write, with everything that its outcome depends on except the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// See [`Index::put`](crate::Index::put). The image has its times.
    Put(Box<NewImage>),
    /// See [`Index::patch`](crate::Index::patch).
    Patch {
        /// The image.
        id: ImageId,
        /// The new labels; `None` keeps the labels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Vec<String>>,
        /// The new payload; `None` keeps the payload, `Some(None)` removes it.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "null_or_value"
        )]
        payload: Option<Option<Value>>,
        /// The time of the change, in milliseconds since 1970.
        at_ms: u64,
    },
    /// See [`Index::delete`](crate::Index::delete).
    Delete {
        /// The image.
        id: ImageId,
    },
    /// Opens a block of original keys.
    OpenBlock,
    /// See [`Index::forget_originals`](crate::Index::forget_originals).
    Forget(Vec<OriginalKey>),
    /// See [`Index::begin`](crate::Index::begin).
    Begin(Generation),
    /// See [`Index::recode`](crate::Index::recode).
    Recode {
        /// The generation's number.
        number: u32,
        /// The images and their codes.
        images: Vec<Recoded>,
    },
    /// See [`Index::activate`](crate::Index::activate).
    Activate(u32),
    /// See [`Index::discard`](crate::Index::discard).
    Discard,
    /// See [`Index::merge`](crate::Index::merge).
    Merge {
        /// The image.
        id: ImageId,
        /// The new labels; `None` keeps the labels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Vec<String>>,
        /// Labels to add.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        add_labels: Vec<String>,
        /// Labels to remove.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        remove_labels: Vec<String>,
        /// A JSON merge patch (RFC 7396) of the payload; `None` keeps the payload, `Some(Null)`
        /// removes it.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "null_is_a_value"
        )]
        payload: Option<Value>,
        /// The time of the change, in milliseconds since 1970.
        at_ms: u64,
    },
    /// See [`Index::declare`](crate::Index::declare).
    Declare {
        /// The path of the field.
        path: FieldPath,
        /// The type of its values.
        #[serde(rename = "type")]
        kind: FieldType,
    },
    /// See [`Index::build_field`](crate::Index::build_field).
    BuildField {
        /// The field's number.
        number: u32,
        /// The row pages of the images.
        pages: Range<u32>,
    },
    /// See [`Index::finish_field`](crate::Index::finish_field).
    FieldBuilt {
        /// The field's number.
        number: u32,
    },
    /// See [`Index::delete_field`](crate::Index::delete_field).
    DeleteField {
        /// The path of the field.
        path: FieldPath,
    },
    /// A write of an image that is done only if the image meets a precondition. It wraps the write
    /// so that a version that knows no preconditions stops here instead of ignoring the
    /// precondition.
    If {
        /// The image.
        id: ImageId,
        /// The precondition.
        expected: Precondition,
        /// The write.
        write: Box<Write>,
    },
}

/// Distinguishes null, which removes the payload, from an absent member, which keeps it.
fn null_or_value<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<Value>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Distinguishes null, which is a merge patch, from an absent member, which is none.
fn null_is_a_value<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// The outcome of a write.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The record, and true if the image is new.
    Put(Box<Record>, bool),
    /// The record; `None` if there is no such image.
    Patched(Option<Box<Record>>),
    /// True if the image or the field existed.
    Deleted(bool),
    /// The number of the block.
    Block(u64),
    /// The number of the generation.
    Number(u32),
    /// The number of images that got codes.
    Recoded(usize),
    /// The declared field.
    Field(Field),
    /// The write has no result.
    Nothing,
}

impl Write {
    /// Returns true if the write begins, activates or discards a generation.
    pub fn changes_generations(&self) -> bool {
        match self {
            Write::Begin(_) | Write::Activate(_) | Write::Discard => true,
            Write::If { write, .. } => write.changes_generations(),
            _ => false,
        }
    }

    /// Returns true if the write changes generations, or declares, finishes or deletes a field.
    /// Pages may then be left to [purge](crate::Index::purge).
    pub fn changes_layout(&self) -> bool {
        match self {
            Write::Declare { .. } | Write::FieldBuilt { .. } | Write::DeleteField { .. } => true,
            Write::If { write, .. } => write.changes_layout(),
            _ => self.changes_generations(),
        }
    }

    pub(crate) fn put(mut image: NewImage) -> Self {
        image.times.get_or_insert_with(Times::now);
        Write::Put(Box::new(image))
    }

    /// Makes the write conditional on a precondition of an image.
    pub(crate) fn only_if(self, id: ImageId, expected: Precondition) -> Self {
        if expected.is_empty_condition() {
            self
        } else {
            Write::If {
                id,
                expected,
                write: Box::new(self),
            }
        }
    }

    pub(crate) fn patch(
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
    ) -> Self {
        Write::Patch {
            id,
            labels,
            payload,
            at_ms: Times::now().updated_at_ms,
        }
    }
}

/// The codes of an image in the standby generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recoded {
    /// Its id.
    pub id: ImageId,
    /// The original that the codes were made of.
    pub original: Option<OriginalKey>,
    /// One code of each length, ascending; none if the original could not be read. Searches do not
    /// find such an image.
    pub codes: Vec<HashCode>,
    /// Its sketch, if the model makes any and the original could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<Sketch>,
}

/// A log that every write goes through before the index applies it.
pub trait Log: Send + Sync {
    /// Checks that the log is likely to accept a write.
    ///
    /// # Errors
    /// [`IndexError::Log`], [`Closed`](IndexError::Closed).
    fn check(&self) -> Result<(), IndexError>;

    /// Appends a write. Returns its outcome once this store has applied it.
    fn append(
        &self,
        write: Write,
    ) -> Pin<Box<dyn Future<Output = Result<Outcome, IndexError>> + Send + '_>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_merge_patch_of_null_differs_from_none() {
        for payload in [None, Some(Value::Null), Some(json!({ "a": null }))] {
            let write = Write::Merge {
                id: "a".parse().unwrap(),
                labels: None,
                add_labels: vec![],
                remove_labels: vec!["b".to_owned()],
                payload,
                at_ms: 1,
            };
            let json = serde_json::to_string(&write).unwrap();
            let read: Write = serde_json::from_str(&json).unwrap();
            assert_eq!(format!("{read:?}"), format!("{write:?}"), "{json}");
        }
    }
}
