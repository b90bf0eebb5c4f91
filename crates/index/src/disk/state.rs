//! The summary that is stored with every commit: counts and the next free numbers. Also the file
//! that counts acknowledged commits.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    disk::{key::Key, page},
    types::{
        error::{Damage, IndexError},
        id::ImageId,
    },
};

/// The summary of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The number of commits.
    pub commit: u64,
    /// The number of images.
    pub images: u64,
    /// The lowest sequence number that was never used.
    pub next: u32,
    /// The lowest number without a name.
    pub names: u32,
    /// The sum of every image's [`mark`].
    pub marks: u64,
    /// The lowest block of original keys that was never opened.
    pub blocks: u64,
}

impl State {
    /// Reads the summary; `None` if the store was never written to.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] if it is malformed, [`IndexError::Store`].
    pub fn read(tree: &sled::Tree) -> Result<Option<Self>, IndexError> {
        let corrupt = |why: &str| Damage {
            what: "the summary of the store".to_owned(),
            why: why.to_owned(),
        };
        let Some(value) = tree.get(Key::State.to_bytes())? else {
            return Ok(None);
        };
        let body = page::open(&value).map_err(corrupt)?;
        let state = postcard::from_bytes(body).map_err(|_| corrupt("it is malformed"))?;
        Ok(Some(state))
    }

    /// Adds the summary to a batch.
    ///
    /// # Errors
    /// [`IndexError::Encode`].
    pub fn write(&self, batch: &mut sled::Batch) -> Result<(), IndexError> {
        let value = page::seal(postcard::to_stdvec(self)?);
        batch.insert(Key::State.to_bytes(), value);
        Ok(())
    }
}

/// The checksum of an image. [`State::marks`] adds them up, so a missing or extra image is noticed
/// without a list of images.
pub fn mark(sequence: u32, id: &ImageId) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_be_bytes());
    hasher.update(id.as_str().as_bytes());
    u64::from(hasher.finalize())
}

/// The file with the number of acknowledged commits. sled takes the end of its log for the end of
/// what was written; this number shows if that end was lost. It is written after sled's flush, so
/// it is never ahead of the durable commits.
#[derive(Debug)]
pub struct Acknowledged(File);

impl Acknowledged {
    const NAME: &str = "acknowledged";

    /// Opens or creates the file in the folder of a store, and returns the number in it.
    pub fn open(folder: &Path) -> io::Result<(Self, u64)> {
        let path = folder.join(Self::NAME);
        let found = match fs::read(&path) {
            Ok(bytes) => page::open(&bytes)
                .ok()
                .and_then(|body| body.try_into().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        Ok((Acknowledged(file), found.map_or(0, u64::from_be_bytes)))
    }

    /// Writes the number of acknowledged commits. A crash of the machine may undo this; a crash of
    /// the process does not.
    pub fn set(&self, commit: u64) -> io::Result<()> {
        self.0
            .write_all_at(&page::seal(commit.to_be_bytes().to_vec()), 0)
    }

    /// Makes the number durable.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
