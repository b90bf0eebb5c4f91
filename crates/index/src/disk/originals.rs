//! Names for originals, which are kept elsewhere: given out once, in blocks, and loose until a row has them.
//! Knows how loose names are stored; neither where originals lie nor when one is written or removed.

use std::collections::{HashMap, hash_map};

use serde::{Deserialize, Serialize};

use crate::{
    disk::{key::Key, page},
    types::{
        error::{Damage, IndexError},
        id::{BLOCK, OriginalKey},
    },
};

/// How many blocks are passed over where a damaged store may have forgotten some that it opened.
pub const LEAP: u64 = 1 << 32;

/// Which names of a block are loose: an original may lie there and no row has it. Whoever finds them when a store is opened may remove
/// what lies there, for a name is tied in the commit that stores its row, and loosened in the one that lets go of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Unreferenced([u64; (BLOCK / 64) as usize]);

fn bit(key: OriginalKey) -> (usize, u64) {
    let slot = key.slot();
    ((slot / 64) as usize, 1 << (slot % 64))
}

impl Unreferenced {
    const ALL: Unreferenced = Unreferenced([u64::MAX; (BLOCK / 64) as usize]);

    fn read(block: u64, value: &[u8]) -> Result<Self, IndexError> {
        let damaged = |why: &str| Damage {
            what: format!("the loose originals of block {block}"),
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

/// All loose names of a store.
///
/// # Errors
/// [`IndexError::Store`], [`IndexError::Corrupt`].
pub fn unreferenced(tree: &sled::Tree) -> Result<Vec<OriginalKey>, IndexError> {
    let mut names = Vec::new();
    for entry in
        tree.range(Key::Unreferenced(0).to_bytes()..=Key::Unreferenced(u64::MAX).to_bytes())
    {
        let (key, value) = entry?;
        if let Some(Key::Unreferenced(block)) = Key::from_bytes(&key) {
            let unreferenced = Unreferenced::read(block, &value)?;
            names.extend(OriginalKey::of_block(block).filter(|name| unreferenced.has(*name)));
        }
    }
    Ok(names)
}

/// What the writes of a group do to names.
#[derive(Default)]
pub struct Changes {
    blocks: HashMap<u64, Unreferenced>,
    /// What rows have let go of.
    released: Vec<OriginalKey>,
    /// Whether somebody else is told of what rows let go of from now on.
    pub elsewhere: bool,
}

impl Changes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All names of a new block are loose.
    pub fn open(&mut self, block: u64) {
        self.blocks.insert(block, Unreferenced::ALL);
    }

    /// A row lets go of one name and takes another, which has to be loose. What fails changes nothing.
    ///
    /// # Errors
    /// [`IndexError::OriginalKey`] where another row has it, [`IndexError::Store`].
    pub fn replace(
        &mut self,
        tree: &sled::Tree,
        before: Option<OriginalKey>,
        after: Option<OriginalKey>,
    ) -> Result<(), IndexError> {
        if before == after {
            return Ok(());
        }
        if let Some(name) = before {
            self.block(tree, name.block())?;
        }
        if let Some(name) = after {
            let unreferenced = self.block(tree, name.block())?;
            if !unreferenced.has(name) {
                return Err(IndexError::OriginalKey { name });
            }
            unreferenced.set(name, false);
        }
        if let Some(name) = before {
            self.block(tree, name.block())?.set(name, true);
            self.released.extend(Some(name).filter(|_| !self.elsewhere));
        }
        Ok(())
    }

    /// Nothing lies under a name any more, which is loose.
    ///
    /// # Errors
    /// [`IndexError::Store`].
    pub fn forget(&mut self, tree: &sled::Tree, name: OriginalKey) -> Result<(), IndexError> {
        self.block(tree, name.block())?.set(name, false);
        Ok(())
    }

    /// Puts them into a batch, and tells which names were let go of.
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
        // What was loose in it stays where it lies, which is better than an image that cannot be deleted.
        let unreferenced = unreferenced.unwrap_or_else(|error| {
            tracing::error!(%error, "its loose originals are not removed");
            None
        });
        Ok(vacant.insert(unreferenced.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_loose_but_while_a_row_has_it() {
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
        let names: Vec<OriginalKey> = OriginalKey::of_block(7).collect();
        let [first, second, ..] = names[..] else {
            panic!()
        };
        assert_eq!(
            (first.to_string(), names.len()),
            ("00000007/00".into(), 256)
        );
        changes.replace(&tree, None, Some(first)).unwrap();
        assert_eq!(commit(&mut changes), []);
        assert_eq!(unreferenced(&tree).unwrap(), names[1..]);
        assert!(matches!(
            changes.replace(&tree, Some(second), Some(first)),
            Err(IndexError::OriginalKey { name }) if name == first
        ));
        changes.replace(&tree, Some(first), Some(second)).unwrap();
        assert_eq!(commit(&mut changes), [first]);
        assert_eq!(unreferenced(&tree).unwrap().len(), 255);
        for name in unreferenced(&tree).unwrap() {
            changes.forget(&tree, name).unwrap();
        }
        commit(&mut changes);
        assert!(unreferenced(&tree).unwrap().is_empty() && tree.is_empty());
    }
}
