//! The position of a store in a log: how it is stored, and the check that the store belongs to the
//! log.

use std::path::Path;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    disk::{fields::Fields, generations::Generations, key::Key, state::State},
    types::{
        config::LogOrigin,
        error::{Damage, IndexError},
    },
};

/// The last write of a log that a store has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// Its position; 0 before the first write.
    pub position: u64,
    /// The id of its message, which shows if another write is now at this position.
    pub id: Option<Uuid>,
}

impl LogPosition {
    /// The position before the first write.
    pub const START: LogPosition = LogPosition {
        position: 0,
        id: None,
    };

    /// Reads the position of a store; `None` if it never followed a log.
    pub fn read(tree: &sled::Tree) -> Result<Option<Self>, IndexError> {
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
            Ok(id) => Ok(Some(LogPosition {
                position,
                id: Some(id),
            })),
            Err(_) if id.is_empty() => Ok(Some(LogPosition { position, id: None })),
            Err(_) => Err(malformed.into()),
        }
    }

    /// Reads the number of unreadable log messages that were skipped.
    pub fn broken(tree: &sled::Tree) -> Result<u64, IndexError> {
        let value = tree.get(Key::Broken.to_bytes())?;
        let count = value.and_then(|value| value.as_ref().try_into().ok());
        Ok(count.map_or(0, u64::from_be_bytes))
    }

    /// Encodes the position.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut value = self.position.to_be_bytes().to_vec();
        value.extend(self.id.iter().flat_map(Uuid::as_bytes));
        value
    }
}

/// Computes [`Index::digest`](crate::Index::digest). Nothing may write during it.
pub fn digest(tree: &sled::Tree) -> Result<String, IndexError> {
    let generations = Generations::read(tree)?;
    let kept: Vec<u32> = generations.iter().map(|one| one.number).collect();
    let fields = Fields::read(tree)?;
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    for entry in tree {
        let (key, value) = entry?;
        match Key::from_bytes(&key) {
            // The grouping of writes and the leftovers of discarded generations and deleted fields
            // differ between stores.
            Some(Key::State) => {
                let state = State::read(tree)?.unwrap_or_default();
                let state = State { commit: 0, ..state };
                add(&postcard::to_stdvec(&state)?);
            }
            Some(Key::Codes { generation, .. } | Key::Sketches { generation, .. })
                if !kept.contains(&generation) => {}
            Some(Key::Values { field, .. }) if !fields.has(field) => {}
            _ => {
                add(&key);
                add(&value);
            }
        }
    }
    Ok(format!("{:x}", digest.finalize()))
}

/// Checks that a store follows the log of the gallery, or no log if `gallery` is `None`. If the log
/// began with this store, sets its position to 0 and returns true. This happens before the pages
/// are read, because a store that follows a log must number images exactly as its replicas do.
pub fn check_log_origin(
    tree: &sled::Tree,
    id: Uuid,
    path: &Path,
    gallery: Option<&LogOrigin>,
) -> Result<bool, IndexError> {
    let path = path.to_owned();
    match (gallery, position(tree)?.is_some()) {
        (None, false) => Ok(false),
        (None, true) => Err(IndexError::Follows { path }),
        (Some(gallery), _) if gallery.id != id => Err(IndexError::OtherGallery {
            path,
            gallery: gallery.id,
        }),
        (Some(_), true) => Ok(false),
        (Some(gallery), false) if gallery.began_with == Some(digest(tree)?) => {
            tree.insert(Key::Position.to_bytes(), LogPosition::START.to_bytes())?;
            tree.flush()?;
            Ok(true)
        }
        (Some(gallery), false) => Err(IndexError::OtherBeginning {
            path,
            gallery: gallery.id,
        }),
    }
}

/// Reads how far a log is applied; `None` if the store never followed one.
pub fn position(tree: &sled::Tree) -> Result<Option<u64>, IndexError> {
    Ok(LogPosition::read(tree)?.map(|applied| applied.position))
}
