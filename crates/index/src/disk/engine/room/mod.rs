//! Room on the disk of a store: taken before a group is written, so that sled does not meet a full disk.
//! Knows sled's log as a file that grows; neither what is written nor who waits for room.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::{Errno, retry_on_intr},
};

use crate::types::error::IndexError;

/// sled's log.
const LOG: &str = "db";
/// A file that holds room for opening sled again, for which sled writes a snapshot. It is given up when a write fails.
const RESERVE: &str = "reserve";
/// What sled may write besides a group itself: pages that it rewrites, and those that it moves to free a segment.
const BESIDE: u64 = 4 << 20;
/// How often a full disk is logged.
const REMIND: Duration = Duration::from_secs(60);

/// The room of one store.
pub struct Room {
    folder: PathBuf,
    /// The size of sled's snapshot when it was opened.
    snapshot: u64,
    /// None if the disk had room when it was last taken.
    refused: Mutex<Option<Refused>>,
}

/// That a write was refused.
#[derive(Clone, Copy)]
struct Refused {
    /// How many bytes it needed.
    needed: u64,
    /// When a refusal was last logged.
    logged: Instant,
}

impl Room {
    /// On the disk of a store that is open in a folder.
    pub fn new(folder: &Path) -> Self {
        Room {
            folder: folder.to_owned(),
            snapshot: snapshot_bytes(folder),
            refused: Mutex::new(None),
        }
    }

    /// Takes room for a group of so many bytes. The room stays taken: no other writer to the disk gets it.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`], [`IndexError::Store`] if the disk does not answer.
    pub fn take(&self, bytes: u64) -> Result<(), IndexError> {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        // A smaller write than one that was refused waits for it, so that a disk is not full and not full by turns.
        let least = refused.map_or(0, |refused| refused.needed);
        let needed = least.max(2 * bytes + BESIDE);
        let taken = self.extend_log(needed);
        let error = match taken {
            Ok(()) => {
                if refused.take().is_some() {
                    tracing::info!(folder = %self.folder.display(), "the disk has room again; writes go on");
                }
                return Ok(());
            }
            Err(error) if !is_full(&error) => return Err(sled::Error::from(error).into()),
            Err(_) => self.full(needed),
        };
        let logged = refused.map(|refused| refused.logged);
        let logged = logged.filter(|logged| logged.elapsed() < REMIND);
        if logged.is_none() {
            tracing::error!(folder = %self.folder.display(), %error, "writes are refused");
        }
        *refused = Some(Refused {
            needed,
            logged: logged.unwrap_or_else(Instant::now),
        });
        Err(error)
    }

    /// Refuses if a write was refused for which there is no room yet. Takes none.
    ///
    /// # Errors
    /// [`IndexError::DiskFull`].
    pub fn check(&self) -> Result<(), IndexError> {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Refused { needed, .. }) = refused else {
            return Ok(());
        };
        let reserved = fs::metadata(self.folder.join(RESERVE)).map_or(0, |reserve| reserve.len());
        let reserve = self.reserve(self.log_bytes()).saturating_sub(reserved);
        match free(&self.folder) {
            Ok(free) if free < needed + reserve => Err(self.full(needed)),
            _ => Ok(()),
        }
    }

    /// How large the reserve has to be: sled's snapshot grows with the log.
    fn reserve(&self, log: u64) -> u64 {
        BESIDE + (2 * self.snapshot).max(log / 64)
    }

    fn log_bytes(&self) -> u64 {
        fs::metadata(self.folder.join(LOG)).map_or(0, |log| log.len())
    }

    /// Gives up the reserve. The next [`take`](Self::take) makes it again.
    pub fn give_up_reserve(&self) {
        match fs::remove_file(self.folder.join(RESERVE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the reserve on the disk could not be given up");
            }
            _ => {}
        }
    }

    /// An error of a write, as a full disk if that is its cause.
    pub fn explain(&self, error: IndexError) -> IndexError {
        match &error {
            IndexError::Store {
                source: sled::Error::Io(cause),
            }
            | IndexError::Open {
                source: sled::Error::Io(cause),
                ..
            } if is_full(cause) => self.full(BESIDE),
            _ => error,
        }
    }

    fn full(&self, needed: u64) -> IndexError {
        IndexError::DiskFull {
            needed,
            free: free(&self.folder).unwrap_or(0),
        }
    }

    fn keep_reserve(&self, log: u64) -> io::Result<()> {
        let (path, wanted) = (self.folder.join(RESERVE), self.reserve(log));
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
        filled.inspect_err(|_| self.give_up_reserve())
    }

    /// Takes room at the end of the log, which keeps its size. A file system that cannot do so is asked how much is free.
    fn extend_log(&self, bytes: u64) -> io::Result<()> {
        let log = File::options().write(true).open(self.folder.join(LOG))?;
        let end = log.metadata()?.len();
        self.keep_reserve(end)?;
        let more = || fallocate(&log, FallocateFlags::KEEP_SIZE, end, bytes);
        let reserved = match reserves() {
            true => retry_on_intr(more),
            false => Err(Errno::OPNOTSUPP),
        };
        match reserved {
            Err(Errno::OPNOTSUPP) => match free(&self.folder)? >= bytes {
                true => Ok(()),
                false => Err(io::ErrorKind::StorageFull.into()),
            },
            reserved => Ok(reserved?),
        }
    }
}

/// Whether the file system is asked to reserve room. Tests have it not be.
#[cfg(not(test))]
fn reserves() -> bool {
    true
}
#[cfg(test)]
use tests::reserves;

/// Whether an error says that the disk, or what its owner may use of it, is full.
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

/// The size of sled's snapshot.
fn snapshot_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let snapshots = files.filter(|file| file.file_name().to_string_lossy().starts_with("snap."));
    let sizes = snapshots.filter_map(|file| Some(file.metadata().ok()?.len()));
    sizes.sum()
}

#[cfg(test)]
mod tests;
