//! The stored form of an image's record: a row of a page.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::types::{
    id::{ImageId, OriginalKey},
    revision::Revision,
};

/// The stored record of an image, without codes, payload and original.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: PackedId,
    /// Counts the writes to this image, so that a reader notices a write between two of its reads.
    pub version: u8,
    /// True if there is a payload.
    pub payload: bool,
    /// The numbers of its labels, in the given order.
    pub labels: Vec<u32>,
    /// The number of its media type.
    pub media_type: u32,
    /// The size of its original in bytes.
    pub bytes: u64,
    /// The key of its original, if the original is kept.
    pub original: Option<OriginalKey>,
    /// When it was first stored, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// The time from then to the last change, in milliseconds.
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

    /// When it was last changed, in milliseconds since 1970.
    pub fn updated_at_ms(&self) -> u64 {
        self.created_at_ms + self.updated_after_ms
    }

    /// The version and `updated_after_ms` after a change. Whatever the writers' clocks say, the
    /// time never decreases, and it increases when the version wraps around, so no two states of an
    /// image have the same pair.
    pub fn next_version(&self, at_ms: u64) -> (u8, u64) {
        let version = self.version.wrapping_add(1);
        let least = self.updated_after_ms + u64::from(version == 0);
        let after_ms = at_ms.saturating_sub(self.created_at_ms);
        (version, after_ms.max(least))
    }
}

/// A compact id: most ids are UUIDs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PackedId {
    /// The UUID's lower-case text form with hyphens.
    Uuid([u8; 16]),
    /// Any other text.
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
    fn no_state_recurs_whatever_the_clocks_say() {
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
            (row.version, row.updated_after_ms) = row.next_version(at_ms);
            assert!(seen.insert(row.revision(Uuid::nil(), 1, 0).to_string()));
        }
    }
}
