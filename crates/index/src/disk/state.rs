//! What the store says of itself with every commit: how many commits and images there are, and which numbers are free.
//! Opening compares it with what is found; knows how it is stored, here and in the file of what was acknowledged.

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

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How many commits there have been.
    pub commit: u64,
    /// How many images there are.
    pub images: u64,
    /// The first sequence number that was never given.
    pub next: u32,
    /// The first number that has no name.
    pub names: u32,
    /// The sum of every image's [`mark`].
    pub marks: u64,
    /// The first block of originals' names that was never opened.
    pub blocks: u64,
}

impl State {
    /// As it is stored; none in a store that was never written to.
    ///
    /// # Errors
    /// What is wrong with it.
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

    /// Puts it into a batch.
    ///
    /// # Errors
    /// [`IndexError::Encode`].
    pub fn write(&self, batch: &mut sled::Batch) -> Result<(), IndexError> {
        let value = page::seal(postcard::to_stdvec(self)?);
        batch.insert(Key::State.to_bytes(), value);
        Ok(())
    }
}

/// A number of an image that [`State::marks`] adds up, so that a set of images is known without a list of them.
pub fn mark(sequence: u32, id: &ImageId) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_be_bytes());
    hasher.update(id.as_str().as_bytes());
    u64::from(hasher.finalize())
}

/// The file that tells how many commits were acknowledged. sled takes the end of its log for the end of what was written;
/// this tells when the end has been lost. It is written after sled's flush, so it is never ahead of what is durable.
#[derive(Debug)]
pub struct Acknowledged(File);

impl Acknowledged {
    const NAME: &str = "acknowledged";

    /// Opens or makes it in the folder of a store, and tells the number in it.
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

    /// That so many commits were acknowledged. A crash of the machine may undo it, one of the process does not.
    pub fn set(&self, commit: u64) -> io::Result<()> {
        self.0
            .write_all_at(&page::seal(commit.to_be_bytes().to_vec()), 0)
    }

    /// Makes sure that it stays.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
