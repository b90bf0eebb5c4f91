//! Compaction: rewrites a store without the space that sled holds but does not use.

use std::{fs, io, path::Path};

use crate::{
    disk::{
        engine::{self, open, swap},
        state::Acknowledged,
    },
    types::error::IndexError,
};

/// The number of entries copied in one batch.
const BATCH: usize = 1024;

fn copy_error(source: io::Error) -> IndexError {
    IndexError::Copy { source }
}

/// Completes an exchange of stores that was interrupted.
///
/// # Errors
/// [`IndexError::Copy`].
pub fn finish(folder: &Path) -> Result<(), IndexError> {
    swap::finish(folder).map_err(copy_error)
}

/// Rewrites the store in a data folder without unused space. Returns its size before and after, in
/// bytes.
///
/// # Errors
/// [`IndexError::Empty`] if there is none, [`InUse`](IndexError::InUse),
/// [`Open`](IndexError::Open), [`Copy`](IndexError::Copy), [`Store`](IndexError::Store).
pub fn compact(folder: &Path, cache_bytes: u64) -> Result<(u64, u64), IndexError> {
    finish(folder)?;
    if !folder.join("db").exists() {
        return Err(IndexError::Empty {
            path: folder.to_owned(),
        });
    }
    let db = open::open(folder, cache_bytes)?;
    let new = swap::begin(folder).map_err(copy_error)?;
    {
        let copy = open::open(&new, cache_bytes)?;
        for name in db.tree_names() {
            let (from, to) = (db.open_tree(&name)?, copy.open_tree(&name)?);
            let (mut batch, mut entries) = (engine::Batch::default(), 0);
            for entry in &from {
                let (key, value) = entry?;
                batch.insert(key, value);
                entries += 1;
                if entries % BATCH == 0 {
                    to.apply_batch(std::mem::take(&mut batch))?;
                }
            }
            to.apply_batch(batch)?;
        }
        copy.flush()?;
        let (_, commit) = Acknowledged::open(folder).map_err(copy_error)?;
        let (acknowledged, _) = Acknowledged::open(&new).map_err(copy_error)?;
        let durable = acknowledged.set(commit).and_then(|()| acknowledged.sync());
        durable.map_err(copy_error)?;
    }
    drop(db);
    let before = swap::bytes(folder).map_err(copy_error)?;
    swap::complete(folder).map_err(copy_error)?;
    fs::remove_dir_all(folder.join(swap::OLD_STORE)).map_err(copy_error)?;
    Ok((before, swap::bytes(folder).map_err(copy_error)?))
}
