//! Reserves disk space before a group is written, so that sled does not run into a full disk.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::{Errno, retry_on_intr},
};

use crate::types::error::IndexError;

/// The file of sled's log.
const LOG: &str = "db";
/// A file that reserves space for reopening sled, which writes a snapshot then. It is removed when
/// a write fails.
const RESERVE: &str = "reserve";
/// What sled may write in addition to a group, in bytes: pages that it rewrites, and those that it
/// moves to free a segment.
const EXTRA_BYTES: u64 = 4 << 20;
/// The time between log messages about a full disk.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The disk space of one store.
pub struct DiskSpace {
    folder: PathBuf,
    /// The size of sled's snapshot when sled was opened, in bytes.
    snapshot: u64,
    /// `None` if the last reservation succeeded.
    refused: Mutex<Option<Refused>>,
}

/// A refused write.
#[derive(Clone, Copy)]
struct Refused {
    /// The bytes that it needed.
    needed: u64,
    /// The time of the last log message about a refusal.
    logged: Instant,
}

impl DiskSpace {
    /// The disk space of a store that is open in a folder.
    pub fn new(folder: &Path) -> Self {
        DiskSpace {
            folder: folder.to_owned(),
            snapshot: snapshot_bytes(folder),
            refused: Mutex::new(None),
        }
    }

    /// Reserves space for a group of `bytes` bytes. No other process can take the space.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], [`IndexError::Store`] if the disk cannot be read.
    pub fn reserve(&self, bytes: u64) -> Result<(), IndexError> {
        let mut refused = self.refused.lock();
        // A smaller write waits for a larger refused one, so that the disk does not alternate
        // between full and not full.
        let least = refused.map_or(0, |refused| refused.needed);
        let needed = least.max(2 * bytes + EXTRA_BYTES);
        let taken = self.extend_log(needed);
        let error = match taken {
            Ok(()) => {
                if refused.take().is_some() {
                    tracing::info!(folder = %self.folder.display(), "the disk has space again; writes resume");
                }
                return Ok(());
            }
            Err(error) if !is_full(&error) => return Err(sled::Error::from(error).into()),
            Err(_) => self.full(needed),
        };
        let logged = refused.map(|refused| refused.logged);
        let logged = logged.filter(|logged| logged.elapsed() < LOG_INTERVAL);
        if logged.is_none() {
            tracing::error!(folder = %self.folder.display(), %error, "writes are refused");
        }
        *refused = Some(Refused {
            needed,
            logged: logged.unwrap_or_else(Instant::now),
        });
        Err(error)
    }

    /// Fails if a write was refused and there is still no space for it. Reserves nothing.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`].
    pub fn check(&self) -> Result<(), IndexError> {
        let refused = *self.refused.lock();
        let Some(Refused { needed, .. }) = refused else {
            return Ok(());
        };
        let reserved = fs::metadata(self.folder.join(RESERVE)).map_or(0, |reserve| reserve.len());
        let reserve = self
            .reserve_bytes(self.log_bytes())
            .saturating_sub(reserved);
        match free(&self.folder) {
            Ok(free) if free < needed + reserve => Err(self.full(needed)),
            _ => Ok(()),
        }
    }

    /// The required size of the reserve in bytes: sled's snapshot grows with the log.
    fn reserve_bytes(&self, log: u64) -> u64 {
        EXTRA_BYTES + (2 * self.snapshot).max(log / 64)
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(self.folder.join(LOG)).map_or(0, |log| log.len())
    }

    /// Removes the reserve. The next [`reserve`](Self::reserve) creates it again.
    pub fn release_reserve(&self) {
        match fs::remove_file(self.folder.join(RESERVE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the disk reserve could not be removed");
            }
            _ => {}
        }
    }

    /// Turns an error of a write into [`IndexError::DiskFull`] if a full disk is its cause.
    pub fn explain(&self, error: IndexError) -> IndexError {
        match &error {
            IndexError::Store {
                source: sled::Error::Io(cause),
            }
            | IndexError::Open {
                source: sled::Error::Io(cause),
                ..
            } if is_full(cause) => self.full(EXTRA_BYTES),
            _ => error,
        }
    }

    fn full(&self, needed: u64) -> IndexError {
        IndexError::DiskFull {
            needed,
            free: free(&self.folder).unwrap_or(0),
        }
    }

    fn ensure_reserve(&self, log: u64) -> io::Result<()> {
        let (path, wanted) = (self.folder.join(RESERVE), self.reserve_bytes(log));
        if fs::metadata(&path).is_ok_and(|found| found.len() >= wanted) {
            return Ok(());
        }
        let file = File::create(&path)?;
        let whole = || fallocate(&file, FallocateFlags::empty(), 0, wanted);
        let filled = match retry_on_intr(whole) {
            Err(Errno::OPNOTSUPP) => {
                let zeros = &mut io::Read::take(io::repeat(0), wanted);
                io::copy(zeros, &mut &file).and_then(|_| (&file).flush())
            }
            allocated => allocated.map_err(io::Error::from),
        };
        filled.inspect_err(|_| self.release_reserve())
    }

    /// Reserves space after the end of the log without changing its size. If the file system cannot
    /// do this, only checks the free space.
    fn extend_log(&self, bytes: u64) -> io::Result<()> {
        let log = File::options().write(true).open(self.folder.join(LOG))?;
        let end = log.metadata()?.len();
        self.ensure_reserve(end)?;
        let more = || fallocate(&log, FallocateFlags::KEEP_SIZE, end, bytes);
        let reserved = if reserves() {
            retry_on_intr(more)
        } else {
            Err(Errno::OPNOTSUPP)
        };
        match reserved {
            Err(Errno::OPNOTSUPP) => {
                if free(&self.folder)? >= bytes {
                    Ok(())
                } else {
                    Err(io::ErrorKind::StorageFull.into())
                }
            }
            reserved => Ok(reserved?),
        }
    }
}

/// True if the file system is asked to reserve space. Tests turn this off.
#[cfg(not(test))]
fn reserves() -> bool {
    true
}
#[cfg(test)]
use tests::reserves;

/// Returns true if an error means that the disk or the owner's quota is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn free(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.f_bavail * disk.f_frsize)
}

/// The size of sled's snapshot in bytes.
fn snapshot_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let snapshots = files.filter(|file| file.file_name().to_string_lossy().starts_with("snap."));
    let sizes = snapshots.filter_map(|file| Some(file.metadata().ok()?.len()));
    sizes.sum()
}

#[cfg(test)]
mod tests;
