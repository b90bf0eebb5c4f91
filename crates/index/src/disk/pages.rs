//! Walking the pages of one kind in the order of their numbers, one ahead, so that two kinds can be walked side by side.
//! Knows keys; nothing of what is in a page.

use crate::{disk::key::Key, types::error::IndexError};

/// Pages in order, one ahead.
pub struct Pages<N> {
    entries: sled::Iter,
    number: N,
    next: Option<(u32, sled::IVec)>,
}

impl<N: Fn(Key) -> Option<u32>> Pages<N> {
    /// Of some entries, each with the number that `number` reads from its key.
    pub fn new(entries: sled::Iter, number: N) -> Self {
        Pages {
            entries,
            number,
            next: None,
        }
    }

    /// The number of the next page.
    ///
    /// # Errors
    /// [`IndexError::Store`].
    pub fn peek(&mut self) -> Result<Option<u32>, IndexError> {
        // A key that is none of ours is passed over.
        while self.next.is_none()
            && let Some(entry) = self.entries.next()
        {
            let (key, value) = entry?;
            let number = Key::from_bytes(&key).and_then(|key| (self.number)(key));
            self.next = number.map(|number| (number, value));
        }
        Ok(self.next.as_ref().map(|(number, _)| *number))
    }

    /// The next page, if it has this number.
    pub fn take(&mut self, number: u32) -> Option<sled::IVec> {
        self.next
            .take_if(|(next, _)| *next == number)
            .map(|(_, value)| value)
    }
}
