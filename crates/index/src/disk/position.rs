//! How far a store has come in a log: the position and the id of the last write that it has applied.
//! Knows how that is kept; neither what a write is nor where a log is.

use uuid::Uuid;

use crate::{
    disk::key::Key,
    types::{damage::Damage, error::IndexError},
};

/// The last write of a log that a store has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its position; 0 where the log has none yet.
    pub position: u64,
    /// Its id, so that another write that has come to its position is told from it.
    pub id: Option<Uuid>,
}

impl Applied {
    /// Of a log that has no write yet.
    pub const NOTHING: Applied = Applied {
        position: 0,
        id: None,
    };

    /// What a store says of itself; none where it never followed a log.
    pub(crate) fn read(tree: &sled::Tree) -> Result<Option<Self>, IndexError> {
        let Some(value) = tree.get(Key::Position.to_bytes())? else {
            return Ok(None);
        };
        let malformed = Damage {
            what: "the position in the log".to_owned(),
            why: "it is malformed".to_owned(),
        };
        let Some((position, id)) = value.split_first_chunk() else {
            return Err(malformed.into());
        };
        let position = u64::from_be_bytes(*position);
        match Uuid::from_slice(id) {
            Ok(id) => Ok(Some(Applied {
                position,
                id: Some(id),
            })),
            Err(_) if id.is_empty() => Ok(Some(Applied { position, id: None })),
            Err(_) => Err(malformed.into()),
        }
    }

    /// How many messages of its log were broken and passed over.
    pub(crate) fn broken(tree: &sled::Tree) -> Result<u64, IndexError> {
        let value = tree.get(Key::Broken.to_bytes())?;
        let count = value.and_then(|value| value.as_ref().try_into().ok());
        Ok(count.map_or(0, u64::from_be_bytes))
    }

    /// As a store keeps it.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut value = self.position.to_be_bytes().to_vec();
        value.extend(self.id.iter().flat_map(Uuid::as_bytes));
        value
    }
}
