//! The stored form of an image's record: a row of a page.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::types::{
    id::{ImageId, OriginalKey},
    revision::Revision,
};

/// What is known of an image besides its codes, payload and original, as a page keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
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
    pub original: Option<OriginalKey>,
    /// See [`Record::created_at_ms`].
    pub created_at_ms: u64,
    /// How much later it was last changed.
    pub updated_after_ms: u64,
}

impl Row {
    /// The revision of the image, with its codes in a generation.
    pub fn revision(&self, store: Uuid, generation: u32, sequence: u32) -> Revision {
        Revision {
            store,
            generation,
            sequence,
            version: self.version,
            updated_at_ms: self.updated_at_ms(),
        }
    }

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
pub enum PackedId {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
            assert!(seen.insert(row.revision(Uuid::nil(), 1, 0).to_string()));
        }
    }
}
