//! What is kept of an image: its id, its record and the name of its original, and the form of a row on disk.
//! Knows no keys and no sled, and nothing of where an image stands in the directory.

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    code::HashCode,
    disk::originals::Original,
    types::{error::IndexError, revision::Revision, sketch::Sketch, text::nfc},
};

/// The name of an image: text of 1 to 800 bytes in Unicode's form NFC, without control characters and slashes, and not "." or "..".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImageId(String);

impl ImageId {
    /// The most bytes an id has.
    const MOST: usize = 800;

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.0
    }
}

impl TryFrom<String> for ImageId {
    type Error = IndexError;

    fn try_from(text: String) -> Result<Self, IndexError> {
        text.parse()
    }
}

impl FromStr for ImageId {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Self, IndexError> {
        let text = nfc(text);
        let rule = if !(1..=Self::MOST).contains(&text.len()) {
            format!("it has {} bytes; an id has 1 to {}", text.len(), Self::MOST)
        } else if let Some(wrong) = text.chars().find(|c| c.is_control() || *c == '/') {
            format!("{wrong:?} is not allowed; an id has neither control characters nor slashes")
        } else if matches!(&*text, "." | "..") {
            "it would be a step in a path; an id is not . or ..".to_owned()
        } else {
            return Ok(ImageId(text.into_owned()));
        };
        Err(IndexError::Id {
            found: text.chars().take(40).collect(),
            rule,
        })
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
    pub original: Option<Original>,
    /// When it was stored, if that was not now.
    pub times: Option<Times>,
}

/// An image with all that belongs to it, as it is read where it was stored before.
#[derive(Clone, Debug)]
pub struct WholeImage {
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
    pub original: Option<Original>,
    /// When the id was first inserted, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
    /// What tells this from any earlier or later state of it.
    #[serde(skip)]
    pub revision: Revision,
}

/// What is known of an image besides its codes, payload and original, as a page keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its id.
    pub id: PackedId,
    /// Counts the writes to this image: a reader notices one that came between two of its reads, and so does whoever writes once more.
    pub version: u8,
    /// Whether there is a payload.
    pub payload: bool,
    /// The numbers of its labels, in the order given.
    pub labels: Vec<u32>,
    /// The number of its original's media type.
    pub media_type: u32,
    /// See [`Record::bytes`].
    pub bytes: u64,
    /// See [`Record::original`].
    pub original: Option<Original>,
    /// See [`Record::created_at_ms`].
    pub created_at_ms: u64,
    /// How much later it was last changed.
    pub updated_after_ms: u64,
}

impl Row {
    /// When it was last changed.
    pub fn updated_at_ms(&self) -> u64 {
        self.created_at_ms + self.updated_after_ms
    }

    /// Version and time of a change of it. Whatever the clocks of those who write, the time does not go back, and goes on when the version
    /// starts over, so that no two states of an image have both alike.
    pub fn after(&self, at_ms: u64) -> (u8, u64) {
        let version = self.version.wrapping_add(1);
        let least = self.updated_after_ms + u64::from(version == 0);
        let after_ms = at_ms.saturating_sub(self.created_at_ms);
        (version, after_ms.max(least))
    }
}

/// An id in few bytes: most are UUIDs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PackedId {
    /// One that reads as this UUID is written in lower case with hyphens.
    Uuid([u8; 16]),
    /// Any other.
    Text(String),
}

impl From<&ImageId> for PackedId {
    fn from(id: &ImageId) -> Self {
        match Uuid::try_parse(id.as_str()) {
            Ok(uuid) if uuid.to_string() == id.as_str() => PackedId::Uuid(uuid.into_bytes()),
            _ => PackedId::Text(id.0.clone()),
        }
    }
}

impl From<PackedId> for ImageId {
    fn from(packed: PackedId) -> Self {
        ImageId(match packed {
            PackedId::Uuid(bytes) => Uuid::from_bytes(bytes).to_string(),
            PackedId::Text(text) => text,
        })
    }
}

/// A payload as it is stored: its JSON, known to read back, for the reader limits nesting where the writer does not.
pub(crate) fn encode_payload(payload: &Value) -> Result<Vec<u8>, IndexError> {
    serde_json::to_vec(payload)
        .and_then(|json| serde_json::from_slice::<Value>(&json).map(|_| json))
        .map_err(|source| IndexError::Payload { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_none_says_why() {
        let error = |text: &str| text.parse::<ImageId>().unwrap_err().to_string();
        assert!(error("").contains("1 to 800"));
        assert!(error("a/b").contains("'/' is not allowed"));
        assert!(error("..").contains("path"));
        assert!(error("a\nb").contains("'\\n' is not allowed"));
        assert!(error(&"é".repeat(401)).contains("802 bytes"));
        assert!(error(&"x".repeat(9_000)).len() < 150);
        for id in [
            "a",
            "...",
            "A~b:c@d-e_f.9",
            "100 % of it?#\\",
            "猫の写真",
            &"é".repeat(400),
            "0190a5c2-7b8e-7cc1-9d2a-0242ac120002",
        ] {
            assert_eq!(id.parse::<ImageId>().unwrap().as_str(), id);
        }
        let composed: ImageId = "caf\u{e9}".parse().unwrap();
        assert_eq!("cafe\u{301}".parse::<ImageId>().unwrap(), composed);
    }

    #[test]
    fn ids_are_packed_without_loss() {
        for (text, small) in [
            ("0190a5c2-7b8e-7cc1-9d2a-0242ac120002", true),
            ("0190A5C2-7b8e-7cc1-9d2a-0242ac120002", false),
            ("0190a5c27b8e7cc19d2a0242ac120002", false),
            ("cat/1".replace('/', ":").as_str(), false),
        ] {
            let id: ImageId = text.parse().unwrap();
            let packed = PackedId::from(&id);
            assert_eq!(matches!(packed, PackedId::Uuid(_)), small);
            assert_eq!(ImageId::from(packed), id);
        }
    }

    #[test]
    fn a_payload_too_deep_to_read_back_is_refused() {
        let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(encode_payload(&nested(120)).is_ok());
        assert!(matches!(
            encode_payload(&nested(200)),
            Err(IndexError::Payload { .. })
        ));
    }
}
