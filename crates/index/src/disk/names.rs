//! Numbers for names: labels, keywords and media types are stored once, and everywhere else by
//! number. A label or keyword that no image has any more is forgotten, and its number is never
//! reused. Names are kept in sled only, so memory does not grow with them.

use std::{
    collections::{HashMap, HashSet},
    ops::Bound,
};

use crate::{
    disk::key::Key,
    types::{error::IndexError, filter::condition::TextTest},
};

/// The media types of images. They are never forgotten, because a label or keyword may have the
/// same text.
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
/// Maximum number of cached names. If there are more, the cache is cleared, which costs a read
/// for each name.
const MAX_CACHED: usize = 10_000;

/// Reads the number of a name, if it has one.
pub fn number(tree: &sled::Tree, name: &str) -> Result<Option<u32>, IndexError> {
    let corrupt = |_| IndexError::Corrupt {
        what: format!("the number of the name {name:?}"),
        why: "it is malformed".to_owned(),
    };
    let value = tree.get(Key::Name(name).to_bytes())?;
    let read = |value: sled::IVec| value.as_ref().try_into().map(u32::from_be_bytes);
    value.map(read).transpose().map_err(corrupt)
}

/// Maximum number of names that a test of a prefix or a range may let through. Reading more would
/// take too long.
const MAX_IN_RANGE: usize = 100_000;

/// Reads the numbers of all names that pass a test of a prefix or a range.
///
/// # Errors
/// [`IndexError::ManyKeywords`] if there are too many, [`IndexError::Store`].
pub fn numbers(tree: &sled::Tree, test: &TextTest) -> Result<Vec<u32>, IndexError> {
    let key = |name: &String| Key::Name(name).to_bytes();
    let all = Key::Name("").to_bytes();
    let (from, to) = match test {
        TextTest::OneOf(_) => (Bound::Unbounded, Bound::Unbounded),
        TextTest::Prefix(prefix) => (Bound::Included(key(prefix)), Bound::Unbounded),
        TextTest::Range { from, to } => (from.as_ref().map(key), to.as_ref().map(key)),
    };
    let from = match from {
        Bound::Unbounded => Bound::Included(all.clone()),
        from => from,
    };
    let mut numbers = Vec::new();
    for entry in tree.range((from, to)) {
        let (key, value) = entry?;
        let Some(Key::Name(name)) = Key::from_bytes(&key) else {
            break;
        };
        if !test.passes(name) {
            break;
        }
        if numbers.len() == MAX_IN_RANGE {
            return Err(IndexError::ManyKeywords { most: MAX_IN_RANGE });
        }
        // A damaged entry has no number.
        numbers.extend(value.as_ref().try_into().ok().map(u32::from_be_bytes));
    }
    Ok(numbers)
}

/// Reads the name of a number.
///
/// # Errors
/// [`IndexError::Corrupt`] if it has none.
pub fn name(tree: &sled::Tree, number: u32) -> Result<String, IndexError> {
    let value = tree.get(Key::Number(number).to_bytes())?;
    let name = value.and_then(|value| String::from_utf8(value.to_vec()).ok());
    name.ok_or_else(|| IndexError::Corrupt {
        what: format!("the name of number {number}"),
        why: "it is missing or no text".to_owned(),
    })
}

/// The names as the writer sees them: known numbers, staged changes and the next free number.
#[derive(Debug)]
pub struct Names {
    next: u32,
    known: HashMap<String, u32>,
    /// Names that are in a batch but not yet in the tree.
    staged: HashMap<u32, String>,
    /// Names that a batch removes and that may still be in the tree.
    forgotten: HashSet<String>,
}

impl Names {
    /// Starts with the numbers from `next` free.
    pub fn new(next: u32) -> Self {
        Names {
            next,
            known: HashMap::new(),
            staged: HashMap::new(),
            forgotten: HashSet::new(),
        }
    }

    /// Records that all batches so far are in the tree.
    pub fn committed(&mut self) {
        if self.known.len() >= MAX_CACHED {
            self.known.clear();
        }
        self.staged.clear();
        self.forgotten.clear();
    }

    /// Returns the name of a number, also a staged one.
    pub fn name(&self, tree: &sled::Tree, number: u32) -> Result<String, IndexError> {
        match self.staged.get(&number) {
            Some(name) => Ok(name.clone()),
            None => name(tree, number),
        }
    }

    /// The lowest free number.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Returns the number of a name, and assigns one in the batch if it has none. The number
    /// remains assigned even if the write fails.
    pub fn number(
        &mut self,
        tree: &sled::Tree,
        batch: &mut sled::Batch,
        name: &str,
    ) -> Result<u32, IndexError> {
        if let Some(&number) = self.known.get(name) {
            return Ok(number);
        }
        let stored = if self.forgotten.remove(name) {
            None
        } else {
            number(tree, name)?
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

    /// Removes the name of a label or keyword that no image has any more.
    pub fn forget(
        &mut self,
        tree: &sled::Tree,
        batch: &mut sled::Batch,
        number: u32,
    ) -> Result<(), IndexError> {
        let name = match self.name(tree, number) {
            // A damaged entry counts as removed.
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
