//! What is kept of an image: its id, its record and its original bytes, and their form on disk.
//! Knows no keys and no sled, and nothing of where an image stands in the directory.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::HashCode;

use super::error::IndexError;

/// The name of an image: 1 to 200 of the characters A–Z a–z 0–9 . _ ~ : @ -, and not "." or "..".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ImageId(String);

impl ImageId {
    /// The most characters an id has; a page keeps the number in one byte.
    const MOST: usize = 200;

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageId {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Self, IndexError> {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || "._~:@-".contains(*c);
        let length = text.chars().count();
        let rule = if !(1..=Self::MOST).contains(&length) {
            format!("it has {length} characters; an id has 1 to {}", Self::MOST)
        } else if let Some(wrong) = text.chars().find(|c| !allowed(c)) {
            format!("{wrong:?} is not allowed; an id is made of letters, digits and . _ ~ : @ -")
        } else if matches!(text, "." | "..") {
            "it would be a step in a path; an id is not . or ..".to_owned()
        } else {
            return Ok(ImageId(text.to_owned()));
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

/// The original of an image, as it was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its media type, such as `image/png`.
    pub media_type: String,
}

impl Content {
    /// The size of the media type in 8 bytes, the media type, the bytes: one value, so one read cannot mix two images.
    pub(super) fn encode(&self) -> Vec<u8> {
        let size = (self.media_type.len() as u64).to_be_bytes();
        [&size, self.media_type.as_bytes(), &self.bytes].concat()
    }

    /// Reads it back without a copy; `None` where it is malformed.
    pub(super) fn decode(value: sled::IVec) -> Option<Self> {
        let mut bytes = Bytes::from_owner(value);
        let size = u64::from_be_bytes(*bytes.first_chunk()?);
        let start = usize::try_from(size)
            .ok()?
            .checked_add(size_of_val(&size))?;
        let media_type = str::from_utf8(bytes.get(size_of_val(&size)..start)?)
            .ok()?
            .to_owned();
        let bytes = bytes.split_off(start);
        Some(Content { bytes, media_type })
    }
}

/// What the index tells of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Its id.
    pub id: ImageId,
    /// Its codes, one of each length of the index, ascending.
    pub codes: Vec<HashCode>,
    /// Its labels, as they were given.
    pub labels: Vec<String>,
    /// What the caller keeps with it; JSON null is kept as none.
    pub payload: Option<Value>,
    /// The media type of its original.
    pub media_type: String,
    /// The size of its original.
    pub bytes: u64,
    /// When the id was first inserted, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it was last changed, in milliseconds since 1970.
    pub updated_at_ms: u64,
}

/// A record on disk: without id, which is its key, and codes, which are in a page of the generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// The place in the pages, and the age.
    pub sequence: u64,
    /// See [`Record::labels`].
    pub labels: Vec<String>,
    /// See [`Record::payload`].
    pub payload: Option<Value>,
    /// See [`Record::media_type`].
    pub media_type: String,
    /// See [`Record::bytes`].
    pub bytes: u64,
    /// See [`Record::created_at_ms`].
    pub created_at_ms: u64,
    /// See [`Record::updated_at_ms`].
    pub updated_at_ms: u64,
}

impl Stored {
    /// JSON, known to read back: the reader limits nesting where the writer does not.
    pub fn encode(&self) -> Result<Vec<u8>, IndexError> {
        serde_json::to_vec(self)
            .and_then(|json| serde_json::from_slice::<Stored>(&json).map(|_| json))
            .map_err(|source| IndexError::Payload { source })
    }

    /// The public form.
    pub fn into_record(self, id: ImageId, codes: Vec<HashCode>) -> Record {
        Record {
            id,
            codes,
            labels: self.labels,
            payload: self.payload,
            media_type: self.media_type,
            bytes: self.bytes,
            created_at_ms: self.created_at_ms,
            updated_at_ms: self.updated_at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_none_says_why() {
        let error = |text: &str| text.parse::<ImageId>().unwrap_err().to_string();
        assert!(error("").contains("1 to 200"));
        assert!(error("a/b").contains("'/' is not allowed"));
        assert!(error("..").contains("path"));
        assert!(error(&"é".repeat(300)).contains("300 characters"));
        assert!(error(&"x".repeat(9_000)).len() < 150);
        for id in [
            "a",
            "...",
            "A~b:c@d-e_f.9",
            "0190a5c2-7b8e-7cc1-9d2a-0242ac120002",
        ] {
            assert_eq!(id.parse::<ImageId>().unwrap().as_str(), id);
        }
    }

    #[test]
    fn content_reads_back_and_what_is_none_does_not() {
        let content = Content {
            bytes: Bytes::from_static(b"\x89PNG"),
            media_type: "image/png".to_owned(),
        };
        assert_eq!(Content::decode(content.encode().into()), Some(content));
        for bytes in [&b""[..], &[0; 7], &[255; 12], &[0, 0, 0, 0, 0, 0, 0, 9, 1]] {
            assert_eq!(Content::decode(bytes.into()), None);
        }
    }

    #[test]
    fn a_payload_too_deep_to_read_back_is_refused() {
        let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let stored = |depth| Stored {
            sequence: 1,
            labels: vec![],
            payload: Some(nested(depth)),
            media_type: String::new(),
            bytes: 0,
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        assert!(stored(120).encode().is_ok());
        assert!(matches!(
            stored(200).encode(),
            Err(IndexError::Payload { .. })
        ));
    }
}
