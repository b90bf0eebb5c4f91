//! Free disk space, checked before large writes, and the permissions of new files.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, process::umask};

/// Space kept free for the store. It writes to the same disk and must not stop because of a write
/// that can wait.
const RESERVED_BYTES: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The write would fill the disk.
    #[error("{} has {free} bytes free; {needed} are needed, including a reserve for the service's own writes", path.display())]
    Full {
        path: PathBuf,
        needed: u64,
        free: u64,
    },
    #[error("cannot read the free space of {}: {source}", path.display())]
    Unknown { path: PathBuf, source: io::Error },
}

/// Restricts the permissions of all files that this process creates to those of a folder, or to the
/// owner if the folder does not exist yet. Must be called before threads are started.
pub fn restrict_permissions(folder: &Path) {
    let allowed = fs::metadata(folder).map_or(0, |folder| folder.permissions().mode());
    umask(Mode::from_raw_mode(!allowed & 0o077));
}

/// Refuses a write of `bytes` that would fill the disk of a folder.
///
/// # Errors
/// [`DiskError`].
pub fn check_free_space(folder: &Path, bytes: u64) -> Result<(), DiskError> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| DiskError::Unknown {
        path: folder.to_owned(),
        source: error.into(),
    })?;
    let (needed, free) = (bytes + RESERVED_BYTES, disk.f_bavail * disk.f_frsize);
    if free >= needed {
        Ok(())
    } else {
        Err(DiskError::Full {
            path: folder.to_owned(),
            needed,
            free,
        })
    }
}
