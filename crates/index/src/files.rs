//! Files that are replaced as a whole.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Replaces a file with these bytes, or creates it. A kill leaves either the old file or the new
/// one. First writes to the same path with the extension `part`.
///
/// # Errors
/// Those of the file system. The old file is untouched then.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    written.inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}
