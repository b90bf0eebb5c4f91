//! What is kept of an image: its id, its record and the name of its original, and the form of a row on disk.
//! Knows no keys and no sled, and nothing of where an image stands in the directory.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    code::HashCode,
    types::{
        id::{ImageId, OriginalKey},
        revision::Revision,
        sketch::Sketch,
    },
};

/// An image's codes by the model of one generation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Codes {
    /// The generation's number.
    pub generation: u32,
    /// One code of each of its lengths, ascending.
    pub codes: Vec<HashCode>,
    /// Its sketch by that model, if it makes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<Sketch>,
}

/// When an image was stored, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// First.
    pub created_at_ms: u64,
    /// Last.
    pub updated_at_ms: u64,
}

impl Times {
    /// Of what is stored just now.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_millis() as u64);
        Times {
            created_at_ms: now,
            updated_at_ms: now,
        }
    }
}

/// An image to insert, or to take the place of the one with its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewImage {
    /// Its id.
    pub id: ImageId,
    /// Its codes in the active generation, and in the one beside where there are any; others count for nothing.
    pub codes: Vec<Codes>,
    /// Its labels.
    pub labels: Vec<String>,
    /// Anything the caller wants kept with it; JSON null is kept as none.
    pub payload: Option<Value>,
    /// The media type of its original, such as `image/png`.
    pub media_type: String,
    /// The size of its original.
    pub bytes: u64,
    /// The name under which its original is kept already, if it is.
    pub original: Option<OriginalKey>,
    /// When it was stored, if that was not now.
    pub times: Option<Times>,
}

/// An image with all that belongs to it, as it is read where it was stored before.
#[derive(Clone, Debug)]
pub struct ImportedImage {
    /// Its id.
    pub id: ImageId,
    /// One code of each length, ascending.
    pub codes: Vec<HashCode>,
    /// Its sketch by the same model, if it has one.
    pub sketch: Option<Sketch>,
    /// Its labels.
    pub labels: Vec<String>,
    /// What the caller keeps with it.
    pub payload: Option<Value>,
    /// The media type of its original.
    pub media_type: String,
    /// Its original.
    pub original: Bytes,
    /// When it was first stored and last changed.
    pub times: Times,
}

/// What the index tells of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Its id.
    pub id: ImageId,
    /// Its codes in the generation asked for, one of each length, ascending; none where its original could not be read when they were made.
    pub codes: Vec<HashCode>,
    /// Its sketch in that generation; none where that has none, where the image has no codes, and where the page with it is damaged.
    #[serde(skip)]
    pub sketch: Option<Sketch>,
    /// Its labels, as they were given.
    pub labels: Vec<String>,
    /// What the caller keeps with it; JSON null is kept as none.
    pub payload: Option<Value>,
    /// The media type of its original.
    pub media_type: String,
    /// The size of its original.
    pub bytes: u64,
    /// The name under which its original is kept, if it is.
    #[serde(skip)]
    pub original: Option<OriginalKey>,
    /// When the id was first inserted, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
    /// What tells this from any earlier or later state of it.
    #[serde(skip)]
    pub revision: Revision,
}
