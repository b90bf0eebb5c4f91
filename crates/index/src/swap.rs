//! One store takes another's place in a data folder, which keeps its name: the new one is made beside, then files change places.
//! Knows sled's files by name and what a process that was killed may leave; nothing of what is stored.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// Where the new store is made.
const BESIDE: &str = "replacing";
/// In there, once it is whole: where the old one is to be kept.
const WHOLE: &str = "whole";
/// In there, once the old one has gone.
const GONE: &str = "gone";
/// What a store consists of; sled's snapshots besides.
const FILES: [&str; 4] = ["db", "conf", "blobs", "acknowledged"];
const SNAPSHOT: &str = "snap.";

/// An empty folder for the new store. What an earlier one was begun of goes.
pub fn begin(folder: &Path) -> io::Result<PathBuf> {
    let beside = folder.join(BESIDE);
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir(&beside)?,
    }
    Ok(beside)
}

/// Has the new store, which is closed, take the place of the old one, which is kept in a folder of this name.
pub fn complete(folder: &Path, kept: &str) -> io::Result<()> {
    let beside = folder.join(BESIDE);
    for file in files(&beside)? {
        File::open(file)?.sync_all()?;
    }
    mark(&beside.join(WHOLE), kept)?;
    finish(folder)
}

/// Goes on with a change of places that was cut off, if there was one.
pub fn finish(folder: &Path) -> io::Result<()> {
    let beside = folder.join(BESIDE);
    let kept = match fs::read_to_string(beside.join(WHOLE)) {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !beside.join(GONE).exists() {
        let kept = folder.join(kept);
        fs::create_dir_all(&kept)?;
        transfer(folder, &kept)?;
        mark(&beside.join(GONE), "")?;
    }
    transfer(&beside, folder)?;
    fs::remove_dir_all(beside)?;
    File::open(folder)?.sync_all()
}

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
            fs::rename(&file, to.join(name))?;
        }
    }
    File::open(from)?.sync_all()?;
    File::open(to)?.sync_all()
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

fn mark(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::write(&part, text)?;
    File::open(&part)?.sync_all()?;
    fs::rename(&part, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
