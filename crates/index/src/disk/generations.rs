//! The stored form of the generations, and the keys of their pages.

use serde::{Deserialize, Serialize};

use crate::{
    disk::key::Key,
    types::{
        error::{Damage, IndexError},
        generation::Generation,
    },
};

/// The generations of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generations {
    /// The active generation.
    #[serde(flatten)]
    pub active: Generation,
    /// The standby generation, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<Generation>,
    /// The highest number ever assigned. Pages of discarded generations up to it may still exist.
    #[serde(default)]
    pub last: u32,
}

impl Generations {
    /// The generations of a new store.
    pub fn first(mut active: Generation) -> Self {
        active.number = 1;
        Generations {
            active,
            standby: None,
            last: 1,
        }
    }

    /// Reads the generations of a store.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] if they are missing or malformed, [`IndexError::Store`].
    pub fn read(tree: &sled::Tree) -> Result<Self, IndexError> {
        let corrupt = |why: String| Damage {
            what: "the active generation".to_owned(),
            why,
        };
        let value = tree
            .get(Key::Generation.to_bytes())?
            .ok_or_else(|| corrupt("it is missing".to_owned()))?;
        let read: Result<Generations, _> = serde_json::from_slice(&value);
        let mut read = read.map_err(|error| corrupt(error.to_string()))?;
        read.last = read.last.max(read.active.number);
        Ok(read)
    }

    /// Adds the generations to a batch.
    pub fn write(&self, batch: &mut sled::Batch) {
        let value = serde_json::json!(self).to_string();
        batch.insert(Key::Generation.to_bytes(), value.as_bytes());
    }

    /// All generations, the active one first.
    pub fn iter(&self) -> impl Iterator<Item = &Generation> {
        [&self.active].into_iter().chain(&self.standby)
    }
}

impl Generation {
    /// The key of a code page.
    pub fn codes_key(&self, page: u32) -> Vec<u8> {
        let generation = self.number;
        Key::Codes { generation, page }.to_bytes()
    }

    /// The key of a sketch page.
    pub fn sketches_key(&self, page: u32) -> Vec<u8> {
        let generation = self.number;
        Key::Sketches { generation, page }.to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Length;

    #[test]
    fn generations_read_back() {
        let store = sled::Config::new().temporary(true).open().unwrap();
        let lengths = [Length::L24, Length::L48];
        let precision = "fp32".to_owned();
        let active = Generation::new("aaaaaaaaaaaa".to_owned(), precision, &lengths, None).unwrap();
        let mut generations = Generations::first(active);
        generations.standby = Some(Generation {
            sketch: Some(128),
            ..generations.active.clone()
        });
        let mut batch = sled::Batch::default();
        generations.write(&mut batch);
        store.apply_batch(batch).unwrap();
        assert_eq!(Generations::read(&store).unwrap(), generations);
    }
}
