//! Numbers for names: labels and media types are stored once, and everywhere else by number. A label that no image has any more is forgotten,
//! and its number is not given again. Kept in sled alone, so that memory does not grow with names.

use std::collections::{HashMap, HashSet};

use crate::{disk::key::Key, types::error::IndexError};

/// Media types that images may have. A label may be called like one, and these are never forgotten.
const MEDIA_TYPES: [&str; 10] = [
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/jpeg",
    "image/jxl",
    "image/png",
    "image/tiff",
    "image/webp",
];
/// Names to remember at most; more and all are forgotten, which costs a read each.
const REMEMBERED: usize = 10_000;

/// The number of a name, if it has one.
pub fn number(tree: &sled::Tree, name: &str) -> Result<Option<u32>, IndexError> {
    let corrupt = |_| IndexError::Corrupt {
        what: format!("the number of the name {name:?}"),
        why: "it is malformed".to_owned(),
    };
    let value = tree.get(Key::Name(name).to_bytes())?;
    let read = |value: sled::IVec| value.as_ref().try_into().map(u32::from_be_bytes);
    value.map(read).transpose().map_err(corrupt)
}

/// The name of a number.
///
/// # Errors
/// [`IndexError::Corrupt`] where it has none.
pub fn name(tree: &sled::Tree, number: u32) -> Result<String, IndexError> {
    let value = tree.get(Key::Number(number).to_bytes())?;
    let name = value.and_then(|value| String::from_utf8(value.to_vec()).ok());
    name.ok_or_else(|| IndexError::Corrupt {
        what: format!("the name of number {number}"),
        why: "it is missing or no text".to_owned(),
    })
}

/// The writer's view: numbers it has met, and the next one that is free.
#[derive(Debug)]
pub struct Names {
    next: u32,
    known: HashMap<String, u32>,
    /// Names that are in a batch and not yet in the tree.
    staged: HashMap<u32, String>,
    /// Names that a batch forgets and that may still be in the tree.
    forgotten: HashSet<String>,
}

impl Names {
    /// With numbers from `next` on free.
    pub fn new(next: u32) -> Self {
        Names {
            next,
            known: HashMap::new(),
            staged: HashMap::new(),
            forgotten: HashSet::new(),
        }
    }

    /// That all batches so far are in the tree.
    pub fn committed(&mut self) {
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.staged.clear();
        self.forgotten.clear();
    }

    /// The name of a number, one in a batch too.
    pub fn name(&self, tree: &sled::Tree, number: u32) -> Result<String, IndexError> {
        match self.staged.get(&number) {
            Some(name) => Ok(name.clone()),
            None => name(tree, number),
        }
    }

    /// The first number that is free.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The number of a name, which gets one in the batch if it has none. That stands even if the write it was for fails.
    pub fn number(
        &mut self,
        tree: &sled::Tree,
        batch: &mut sled::Batch,
        name: &str,
    ) -> Result<u32, IndexError> {
        if let Some(&number) = self.known.get(name) {
            return Ok(number);
        }
        let stored = match self.forgotten.remove(name) {
            true => None,
            false => number(tree, name)?,
        };
        let number = match stored {
            Some(number) => number,
            None => {
                let number = self.next;
                self.next = number.checked_add(1).ok_or(IndexError::Full)?;
                batch.insert(Key::Name(name).to_bytes(), &number.to_be_bytes());
                batch.insert(Key::Number(number).to_bytes(), name);
                self.staged.insert(number, name.to_owned());
                number
            }
        };
        self.known.insert(name.to_owned(), number);
        Ok(number)
    }

    /// Forgets the name of a number that no image has as a label any more.
    pub fn forget(
        &mut self,
        tree: &sled::Tree,
        batch: &mut sled::Batch,
        number: u32,
    ) -> Result<(), IndexError> {
        let name = match self.name(tree, number) {
            // It is damaged, and forgotten already.
            Err(IndexError::Corrupt { .. }) => return Ok(()),
            name => name?,
        };
        if MEDIA_TYPES.contains(&name.as_str()) {
            return Ok(());
        }
        batch.remove(Key::Name(&name).to_bytes());
        batch.remove(Key::Number(number).to_bytes());
        self.known.remove(&name);
        self.staged.remove(&number);
        self.forgotten.insert(name);
        Ok(())
    }
}
