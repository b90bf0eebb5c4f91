//! The record of an image, and the forms in which images come in.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    code::HashCode,
    types::{
        filter::condition::Subject,
        id::{ImageId, OriginalKey},
        revision::Revision,
        sketch::Sketch,
    },
};

/// The codes and the sketch of an image in one generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Codes {
    /// The number of the generation.
    pub generation: u32,
    /// One code of each length, ascending.
    pub codes: Vec<HashCode>,
    /// The sketch, if the model makes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<Sketch>,
}

/// The times of an image, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// When it was first stored.
    pub created_at_ms: u64,
    /// When it was last changed.
    pub updated_at_ms: u64,
}

impl Times {
    /// The times of an image that is first stored now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        Times {
            created_at_ms: now,
            updated_at_ms: now,
        }
    }
}

/// An image to insert; it replaces the image with the same id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewImage {
    /// Its id.
    pub id: ImageId,
    /// Its codes: those of the active generation are required, those of the standby generation
    /// optional. Codes of any other generation are ignored.
    pub codes: Vec<Codes>,
    /// Its labels.
    pub labels: Vec<String>,
    /// JSON to store with it; null is stored as no payload.
    pub payload: Option<Value>,
    /// The media type of its original, such as `image/png`.
    pub media_type: String,
    /// The size of its original.
    pub bytes: u64,
    /// The key of its original, if the original is kept.
    pub original: Option<OriginalKey>,
    /// Its times; `None` means now.
    pub times: Option<Times>,
}

/// An image from an export, with its original.
#[derive(Clone, Debug)]
pub struct ImportedImage {
    /// Its id.
    pub id: ImageId,
    /// One code of each length, ascending.
    pub codes: Vec<HashCode>,
    /// Its sketch, if it has one.
    pub sketch: Option<Sketch>,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its payload.
    pub payload: Option<Value>,
    /// The media type of its original.
    pub media_type: String,
    /// The bytes of its original.
    pub original: Bytes,
    /// When it was first stored and last changed.
    pub times: Times,
}

/// What the index returns about an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Its id.
    pub id: ImageId,
    /// Its codes in the requested generation, one of each length, ascending; none if its original
    /// could not be read when the codes were made.
    pub codes: Vec<HashCode>,
    /// Its sketch in that generation. `None` if the generation has no sketches, the image has no
    /// codes, or the sketch page is damaged.
    #[serde(skip)]
    pub sketch: Option<Sketch>,
    /// Its labels, in the given order.
    pub labels: Vec<String>,
    /// Its payload; JSON null is stored as none.
    pub payload: Option<Value>,
    /// The media type of its original.
    pub media_type: String,
    /// The size of its original.
    pub bytes: u64,
    /// The key of its original, if the original is kept.
    #[serde(skip)]
    pub original: Option<OriginalKey>,
    /// When it was first stored, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
    /// Identifies this state of the image.
    #[serde(skip)]
    pub revision: Revision,
}

impl Record {
    /// What a filter tests.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            id: &self.id,
            labels: &self.labels,
            payload: self.payload.as_ref(),
            created_at_ms: self.created_at_ms,
            updated_at_ms: self.updated_at_ms,
        }
    }
}
