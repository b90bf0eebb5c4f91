//! Original keys: allocated once, in blocks, and unreferenced until a row has them. Originals
//! themselves are kept elsewhere.

use std::collections::{HashMap, hash_map};

use serde::{Deserialize, Serialize};

use crate::{
    disk::{key::Key, page},
    types::{
        error::{Damage, IndexError},
        id::{BLOCK_KEYS, OriginalKey},
    },
};

/// The number of blocks skipped when a damaged store may have forgotten some that it opened.
pub const SKIPPED_BLOCKS: u64 = 1 << 32;

/// The unreferenced keys of a block, one bit a key: an original may exist and no row has its key.
/// These originals can be removed when a store is opened, because the commit that stores a row
/// clears its key's bit and the commit that drops it sets it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Unreferenced([u64; (BLOCK_KEYS / 64) as usize]);

fn bit(key: OriginalKey) -> (usize, u64) {
    let slot = key.slot();
    ((slot / 64) as usize, 1 << (slot % 64))
}

impl Unreferenced {
    const ALL: Unreferenced = Unreferenced([u64::MAX; (BLOCK_KEYS / 64) as usize]);

    fn read(block: u64, value: &[u8]) -> Result<Self, IndexError> {
        let damaged = |why: &str| Damage {
            what: format!("the unreferenced originals of block {block}"),
            why: why.to_owned(),
        };
        let body = page::open(value).map_err(damaged)?;
        Ok(postcard::from_bytes(body).map_err(|_| damaged("it is malformed"))?)
    }

    fn has(&self, original: OriginalKey) -> bool {
        let (word, bit) = bit(original);
        self.0[word] & bit != 0
    }

    fn set(&mut self, original: OriginalKey, unreferenced: bool) {
        let (word, bit) = bit(original);
        if unreferenced {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }
}

/// Reads all unreferenced keys of a store.
///
/// # Errors
/// [`IndexError::Store`], [`IndexError::Corrupt`].
pub fn unreferenced(tree: &sled::Tree) -> Result<Vec<OriginalKey>, IndexError> {
    let mut keys = Vec::new();
    for entry in
        tree.range(Key::Unreferenced(0).to_bytes()..=Key::Unreferenced(u64::MAX).to_bytes())
    {
        let (key, value) = entry?;
        if let Some(Key::Unreferenced(block)) = Key::from_bytes(&key) {
            let unreferenced = Unreferenced::read(block, &value)?;
            keys.extend(OriginalKey::of_block(block).filter(|key| unreferenced.has(*key)));
        }
    }
    Ok(keys)
}

/// The changes of a group to original keys.
#[derive(Default)]
pub struct Changes {
    blocks: HashMap<u64, Unreferenced>,
    /// The keys that rows no longer have.
    released: Vec<OriginalKey>,
    /// True if another store releases the keys that rows drop from now on.
    pub released_elsewhere: bool,
}

impl Changes {
    /// Returns true if there are no changes.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Opens a block; all its keys are unreferenced.
    pub fn open(&mut self, block: u64) {
        self.blocks.insert(block, Unreferenced::ALL);
    }

    /// Replaces the key of a row. The new key must be unreferenced. If this fails, it changes
    /// nothing.
    ///
    /// # Errors
    /// [`IndexError::OriginalKey`] if another row has the new key, [`IndexError::Store`].
    pub fn replace(
        &mut self,
        tree: &sled::Tree,
        before: Option<OriginalKey>,
        after: Option<OriginalKey>,
    ) -> Result<(), IndexError> {
        if before == after {
            return Ok(());
        }
        if let Some(key) = before {
            self.block(tree, key.block())?;
        }
        if let Some(key) = after {
            let unreferenced = self.block(tree, key.block())?;
            if !unreferenced.has(key) {
                return Err(IndexError::OriginalKey { key });
            }
            unreferenced.set(key, false);
        }
        if let Some(key) = before {
            self.block(tree, key.block())?.set(key, true);
            self.released
                .extend(Some(key).filter(|_| !self.released_elsewhere));
        }
        Ok(())
    }

    /// Clears an unreferenced key whose original is removed.
    ///
    /// # Errors
    /// [`IndexError::Store`].
    pub fn forget(&mut self, tree: &sled::Tree, key: OriginalKey) -> Result<(), IndexError> {
        self.block(tree, key.block())?.set(key, false);
        Ok(())
    }

    /// Adds the changes to a batch, and returns the keys to release.
    ///
    /// # Errors
    /// [`IndexError::Encode`].
    pub fn write(&mut self, batch: &mut sled::Batch) -> Result<Vec<OriginalKey>, IndexError> {
        for (block, unreferenced) in self.blocks.drain() {
            let key = Key::Unreferenced(block).to_bytes();
            if unreferenced == Unreferenced::default() {
                batch.remove(key);
            } else {
                batch.insert(key, page::seal(postcard::to_stdvec(&unreferenced)?));
            }
        }
        Ok(std::mem::take(&mut self.released))
    }

    fn block(&mut self, tree: &sled::Tree, block: u64) -> Result<&mut Unreferenced, IndexError> {
        let vacant = match self.blocks.entry(block) {
            hash_map::Entry::Occupied(known) => return Ok(known.into_mut()),
            hash_map::Entry::Vacant(vacant) => vacant,
        };
        let value = tree.get(Key::Unreferenced(block).to_bytes())?;
        let unreferenced = value
            .map(|value| Unreferenced::read(block, &value))
            .transpose();
        // The originals of the damaged block are never removed, which is better than an image that
        // cannot be deleted.
        let unreferenced = unreferenced.unwrap_or_else(|error| {
            tracing::error!(%error, "the unreferenced originals of a block are not removed");
            None
        });
        Ok(vacant.insert(unreferenced.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_unreferenced_unless_a_row_has_it() {
        let tree = sled::Config::new().temporary(true).open().unwrap();
        let commit = |changes: &mut Changes| {
            let mut batch = sled::Batch::default();
            let released = changes.write(&mut batch).unwrap();
            tree.apply_batch(batch).unwrap();
            released
        };
        let mut changes = Changes::default();
        assert!(changes.is_empty());
        changes.open(7);
        let keys: Vec<OriginalKey> = OriginalKey::of_block(7).collect();
        let [first, second, ..] = keys[..] else {
            panic!()
        };
        assert_eq!((first.to_string(), keys.len()), ("00000007/00".into(), 256));
        changes.replace(&tree, None, Some(first)).unwrap();
        assert_eq!(commit(&mut changes), []);
        assert_eq!(unreferenced(&tree).unwrap(), keys[1..]);
        assert!(matches!(
            changes.replace(&tree, Some(second), Some(first)),
            Err(IndexError::OriginalKey { key }) if key == first
        ));
        changes.replace(&tree, Some(first), Some(second)).unwrap();
        assert_eq!(commit(&mut changes), [first]);
        assert_eq!(unreferenced(&tree).unwrap().len(), 255);
        for key in unreferenced(&tree).unwrap() {
            changes.forget(&tree, key).unwrap();
        }
        commit(&mut changes);
        assert!(unreferenced(&tree).unwrap().is_empty() && tree.is_empty());
    }
}
