//! Compaction: makes a store again without the space that sled holds and does not use.

use std::{fs, io, path::Path};

use crate::{
    disk::{
        engine::{self, open, swap},
        state::Acknowledged,
    },
    types::error::IndexError,
};

/// How many entries are copied at a time.
const BATCH: usize = 1024;

fn failed(source: io::Error) -> IndexError {
    IndexError::Copy { source }
}

/// Goes on where a change of stores was cut off, if one was.
///
/// # Errors
/// [`IndexError::Copy`].
pub fn finish(folder: &Path) -> Result<(), IndexError> {
    swap::finish(folder).map_err(failed)
}

/// Makes the store in a data folder anew, without the space that sled holds and does not use, and tells its size before and after.
///
/// # Errors
/// [`IndexError::Empty`] where there is none, [`InUse`](IndexError::InUse), [`Open`](IndexError::Open), [`Copy`](IndexError::Copy),
/// [`Store`](IndexError::Store).
pub fn compact(folder: &Path, cache_bytes: u64) -> Result<(u64, u64), IndexError> {
    finish(folder)?;
    if !folder.join("db").exists() {
        return Err(IndexError::Empty {
            path: folder.to_owned(),
        });
    }
    let db = open::open(folder, cache_bytes)?;
    let new = swap::begin(folder).map_err(failed)?;
    {
        let copy = open::open(&new, cache_bytes)?;
        for name in db.tree_names() {
            let (from, to) = (db.open_tree(&name)?, copy.open_tree(&name)?);
            let (mut batch, mut entries) = (engine::Batch::default(), 0);
            for entry in from.iter() {
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
        let (_, commit) = Acknowledged::open(folder).map_err(failed)?;
        let (acknowledged, _) = Acknowledged::open(&new).map_err(failed)?;
        let durable = acknowledged.set(commit).and_then(|()| acknowledged.sync());
        durable.map_err(failed)?;
    }
    drop(db);
    let before = swap::bytes(folder).map_err(failed)?;
    swap::complete(folder).map_err(failed)?;
    fs::remove_dir_all(folder.join(swap::KEPT)).map_err(failed)?;
    Ok((before, swap::bytes(folder).map_err(failed)?))
}
