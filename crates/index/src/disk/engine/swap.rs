//! Replaces the store in a data folder by a new one: the new store is made in a subfolder, then the
//! files change places. A kill at any point leaves one store or the other in place.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// The subfolder in which the new store is made.
const NEW_STORE: &str = "replacing";
/// The subfolder in which the old store is kept until the caller removes it.
pub const OLD_STORE: &str = "before-compaction";
/// In [`NEW_STORE`]: marks that the new store is complete.
const COMPLETE_MARK: &str = "whole";
/// In [`NEW_STORE`]: marks that the old store has been moved away.
const MOVED_MARK: &str = "gone";
/// The files of a store, in addition to sled's snapshots.
const FILES: [&str; 4] = ["db", "conf", "blobs", "acknowledged"];
const SNAPSHOT: &str = "snap.";

/// Creates an empty folder for the new store. Removes what an earlier attempt left.
pub fn begin(folder: &Path) -> io::Result<PathBuf> {
    let new = folder.join(NEW_STORE);
    if new.exists() {
        remove(&new)?;
    }
    fs::create_dir(&new)?;
    Ok(new)
}

/// Puts the new store, which must be closed, in place of the old one. The old one moves to
/// [`OLD_STORE`].
pub fn complete(folder: &Path) -> io::Result<()> {
    let new = folder.join(NEW_STORE);
    for file in files(&new)? {
        sync(&file)?;
    }
    mark(&new.join(COMPLETE_MARK))?;
    finish(folder)
}

/// Completes an exchange that was interrupted, if there is one.
pub fn finish(folder: &Path) -> io::Result<()> {
    let new = folder.join(NEW_STORE);
    if !new.join(COMPLETE_MARK).try_exists()? {
        return Ok(());
    }
    if !new.join(MOVED_MARK).try_exists()? {
        let kept = folder.join(OLD_STORE);
        step()?;
        fs::create_dir_all(&kept)?;
        transfer(folder, &kept)?;
        mark(&new.join(MOVED_MARK))?;
    }
    transfer(&new, folder)?;
    remove(&new)?;
    sync(folder)
}

/// Removes the folder of the new store. Removes the mark first: if killed later, [`finish`] finds
/// nothing to do.
fn remove(new: &Path) -> io::Result<()> {
    match step().and_then(|()| fs::remove_file(new.join(COMPLETE_MARK))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => sync(new)?,
    }
    for entry in fs::read_dir(new)? {
        let path = entry?.path();
        step()?;
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    step()?;
    fs::remove_dir(new)
}

fn sync(path: &Path) -> io::Result<()> {
    step()?;
    File::open(path)?.sync_all()
}

/// Called before anything that changes files. Tests make it fail, as if the process was killed
/// there.
#[cfg(not(test))]
fn step() -> io::Result<()> {
    Ok(())
}
#[cfg(test)]
use tests::step;

/// The size of a store's files in bytes.
pub fn bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut left = files(folder)?;
    while let Some(file) = left.pop() {
        if file.is_dir() {
            let inside = fs::read_dir(&file)?.map(|entry| Ok(entry?.path()));
            left.extend(inside.collect::<io::Result<Vec<_>>>()?);
        } else {
            bytes += fs::metadata(&file)?.len();
        }
    }
    Ok(bytes)
}

/// Moves those files of a store that have not been moved yet.
fn transfer(from: &Path, to: &Path) -> io::Result<()> {
    for file in files(from)? {
        if let Some(name) = file.file_name() {
            step()?;
            fs::rename(&file, to.join(name))?;
        }
    }
    sync(from)?;
    sync(to)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if FILES.contains(&&*name) || name.starts_with(SNAPSHOT) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn mark(path: &Path) -> io::Result<()> {
    let part = path.with_extension("part");
    step()?;
    fs::write(&part, "")?;
    sync(&part)?;
    step()?;
    fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), sync)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// The number of steps before the simulated kill; `None` means no kill.
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    pub fn step() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("killed")),
            Some(left) => {
                LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }

    /// Creates a store's files, each containing a word.
    fn make(folder: &Path, word: &str) {
        fs::create_dir_all(folder.join("blobs")).unwrap();
        for file in ["db", "conf", "acknowledged", "snap.1", "blobs/1"] {
            fs::write(folder.join(file), word).unwrap();
        }
    }

    fn is(folder: &Path, word: &str) -> bool {
        ["db", "conf", "acknowledged", "snap.1", "blobs/1"]
            .iter()
            .all(|file| fs::read_to_string(folder.join(file)).is_ok_and(|found| found == word))
    }

    fn is_empty(folder: &Path) -> bool {
        fs::read_dir(folder).unwrap().next().is_none()
    }

    /// Kills the exchange before each of its steps, then its completion before each step: one store
    /// or the other is in place, and the old one is kept.
    #[test]
    fn an_exchange_that_is_killed_anywhere_loses_neither_store() {
        let mut steps = 0;
        loop {
            let mut finish_steps = 0;
            loop {
                let folder = tempfile::tempdir().unwrap();
                let folder = folder.path();
                make(folder, "old");
                make(&begin(folder).unwrap(), "new");
                LEFT.set(Some(steps));
                let whole = complete(folder).is_ok();
                LEFT.set(Some(finish_steps));
                let finished = finish(folder).is_ok();
                LEFT.set(None);
                finish(folder).unwrap();
                finish(folder).unwrap();
                let kept = folder.join(OLD_STORE);
                let swapped = is(folder, "new") && is(&kept, "old");
                let begun = is(folder, "old") && !kept.exists();
                assert!(swapped || begun && !whole, "{steps}, {finish_steps}");
                // The leftovers do not prevent the next exchange.
                assert!(is_empty(&begin(folder).unwrap()));
                if whole {
                    assert!(steps > 20, "{steps}");
                    return;
                }
                finish_steps += 1;
                if finished {
                    break;
                }
            }
            steps += 1;
        }
    }
}
