//! How far a store has come in a log: the position and the id of the last write that it has applied.
//! Knows how that is kept; neither what a write is nor where a log is.

use std::path::Path;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    disk::{generations::Generations, key::Key, state::State},
    types::{
        config::LogOrigin,
        error::{Damage, IndexError},
    },
};

/// The last write of a log that a store has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// Its position; 0 where the log has none yet.
    pub position: u64,
    /// Its id, so that another write that has come to its position is told from it.
    pub id: Option<Uuid>,
}

impl LogPosition {
    /// Of a log that has no write yet.
    pub const START: LogPosition = LogPosition {
        position: 0,
        id: None,
    };

    /// What a store says of itself; none where it never followed a log.
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

    /// How many messages of its log were broken and passed over.
    pub fn broken(tree: &sled::Tree) -> Result<u64, IndexError> {
        let value = tree.get(Key::Broken.to_bytes())?;
        let count = value.and_then(|value| value.as_ref().try_into().ok());
        Ok(count.map_or(0, u64::from_be_bytes))
    }

    /// As a store keeps it.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut value = self.position.to_be_bytes().to_vec();
        value.extend(self.id.iter().flat_map(Uuid::as_bytes));
        value
    }
}

/// See [`Index::digest`]; nothing is written meanwhile.
pub fn digest(tree: &sled::Tree) -> Result<String, IndexError> {
    let generations = Generations::read(tree)?;
    let kept: Vec<u32> = generations.iter().map(|one| one.number).collect();
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    for entry in tree.iter() {
        let (key, value) = entry?;
        match Key::from_bytes(&key) {
            // How writes were grouped, and what is left of generations that are gone, is each store's own.
            Some(Key::State) => {
                let state = State::read(tree)?.unwrap_or_default();
                let state = State { commit: 0, ..state };
                add(&postcard::to_stdvec(&state)?);
            }
            Some(Key::Codes { generation, .. } | Key::Sketches { generation, .. })
                if !kept.contains(&generation) => {}
            _ => {
                add(&key);
                add(&value);
            }
        }
    }
    let hex = digest.finalize();
    Ok(hex.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Sees to it that a store that is being opened follows the log of a gallery, or none where it is opened for none, and tells whether it begins
/// to: one that the log began with does. That is before anything else is made of it, for who follows a log numbers images as its fellows do.
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

/// How much of a log a store has applied.
pub fn position(tree: &sled::Tree) -> Result<Option<u64>, IndexError> {
    Ok(LogPosition::read(tree)?.map(|applied| applied.position))
}
