//! One store takes another's place in a data folder, which keeps its name: the new one is made beside, then files change places.
//! Knows sled's files by name and what a process that was killed may leave; nothing of what is stored.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Where the new store is made.
const BESIDE: &str = "replacing";
/// Where the old one is kept until its owner removes it.
pub const KEPT: &str = "before-compaction";
/// In there, once it is whole.
const WHOLE: &str = "whole";
/// In there, once the old one has gone.
const GONE: &str = "gone";
/// What a store consists of; sled's snapshots besides.
const FILES: [&str; 4] = ["db", "conf", "blobs", "acknowledged"];
const SNAPSHOT: &str = "snap.";

/// An empty folder for the new store. What an earlier one was begun of goes.
pub fn begin(folder: &Path) -> io::Result<PathBuf> {
    let beside = folder.join(BESIDE);
    if beside.exists() {
        remove(&beside)?;
    }
    fs::create_dir(&beside)?;
    Ok(beside)
}

/// Puts the new store, which is closed, in the place of the old one, which moves to the folder [`KEPT`].
pub fn complete(folder: &Path) -> io::Result<()> {
    let beside = folder.join(BESIDE);
    for file in files(&beside)? {
        sync(&file)?;
    }
    mark(&beside.join(WHOLE))?;
    finish(folder)
}

/// Goes on with a change of places that was cut off, if there was one.
pub fn finish(folder: &Path) -> io::Result<()> {
    let beside = folder.join(BESIDE);
    if !beside.join(WHOLE).try_exists()? {
        return Ok(());
    }
    if !beside.join(GONE).try_exists()? {
        let kept = folder.join(KEPT);
        step()?;
        fs::create_dir_all(&kept)?;
        transfer(folder, &kept)?;
        mark(&beside.join(GONE))?;
    }
    transfer(&beside, folder)?;
    remove(&beside)?;
    sync(folder)
}

/// Removes the folder of the new store, and first of all what would have [`finish`] go on: killed later, it finds nothing to do.
fn remove(beside: &Path) -> io::Result<()> {
    match step().and_then(|()| fs::remove_file(beside.join(WHOLE))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => sync(beside)?,
    }
    for entry in fs::read_dir(beside)? {
        let path = entry?.path();
        step()?;
        match path.is_dir() {
            true => fs::remove_dir_all(path)?,
            false => fs::remove_file(path)?,
        }
    }
    step()?;
    fs::remove_dir(beside)
}

fn sync(path: &Path) -> io::Result<()> {
    step()?;
    File::open(path)?.sync_all()
}

/// Before anything that changes files. Tests have it fail, as if the process was killed there.
#[cfg(not(test))]
fn step() -> io::Result<()> {
    Ok(())
}
#[cfg(test)]
use tests::step;

/// The size of a store's files.
pub fn bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut left = files(folder)?;
    while let Some(file) = left.pop() {
        match file.is_dir() {
            true => {
                let inside = fs::read_dir(&file)?.map(|entry| Ok(entry?.path()));
                left.extend(inside.collect::<io::Result<Vec<_>>>()?);
            }
            false => bytes += fs::metadata(&file)?.len(),
        }
    }
    Ok(bytes)
}

/// Moves what a store consists of, as far as it is still there.
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
        /// How many steps are still done, if not all.
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

    /// A store's files, each with a word in it.
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

    /// Killed before any of its steps, and then before any step of going on, one store or the other is in place, and the old one is kept.
    #[test]
    fn a_change_that_is_cut_off_anywhere_loses_neither_store() {
        let mut steps = 0;
        loop {
            let mut again = 0;
            loop {
                let folder = tempfile::tempdir().unwrap();
                let folder = folder.path();
                make(folder, "old");
                make(&begin(folder).unwrap(), "new");
                LEFT.set(Some(steps));
                let whole = complete(folder).is_ok();
                LEFT.set(Some(again));
                let gone_on = finish(folder).is_ok();
                LEFT.set(None);
                finish(folder).unwrap();
                finish(folder).unwrap();
                let kept = folder.join(KEPT);
                let swapped = is(folder, "new") && is(&kept, "old");
                let begun = is(folder, "old") && !kept.exists();
                assert!(swapped || begun && !whole, "{steps}, {again}");
                // What it left does not keep the next one from being begun.
                assert!(is_empty(&begin(folder).unwrap()));
                if whole {
                    assert!(steps > 20, "{steps}");
                    return;
                }
                again += 1;
                if gone_on {
                    break;
                }
            }
            steps += 1;
        }
    }
}
