//! Room on a disk: whether what is about to be written fits, with some left for whoever else writes there.
//! Knows the operating system's numbers and nothing of what is written.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, process::umask};

/// What is left free: the store writes to the same disk, and it must not be stopped by what can wait.
const SPARE_BYTES: u64 = 64 << 20;

/// Why something is not written.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It would fill the disk.
    #[error("{} has {free} bytes free, and {needed} are needed, with what the service is left to write there too", path.display())]
    Full {
        /// Where.
        path: PathBuf,
        /// How much is needed, what is left free included.
        needed: u64,
        /// How much there is.
        free: u64,
    },
    /// It cannot be asked.
    #[error("{}: {source}", path.display())]
    Unknown {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Has all that this process makes from now on be readable by nobody who may not read a folder; by its owner alone, if the folder is yet
/// to be made. To be called before there are threads.
pub fn keep_private(folder: &Path) {
    let allowed = fs::metadata(folder).map_or(0, |folder| folder.permissions().mode());
    umask(Mode::from_raw_mode(!allowed & 0o077));
}

/// Refuses where so many bytes more would fill the disk that a folder is on.
///
/// # Errors
/// [`DiskError`].
pub fn room(folder: &Path, bytes: u64) -> Result<(), DiskError> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| DiskError::Unknown {
        path: folder.to_owned(),
        source: error.into(),
    })?;
    let (needed, free) = (bytes + SPARE_BYTES, disk.f_bavail * disk.f_frsize);
    match free >= needed {
        true => Ok(()),
        false => Err(DiskError::Full {
            path: folder.to_owned(),
            needed,
            free,
        }),
    }
}
