//! Opens sled, waits for its lock, and recovers what it can from damaged files.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::types::error::IndexError;

/// The time between sled's own flushes in milliseconds. Only then does sled free the space of
/// replaced pages, a few at a time.
const FLUSH_EVERY_MS: u64 = 20;
/// The segment size of sled's log in bytes. A page larger than a quarter of it goes to a file of
/// its own, and if that cannot be written, sled waits forever. No page of an index is that large.
const SEGMENT_BYTES: usize = 2 << 20;
/// The segment size of stores made by earlier versions. They keep it until they are compacted.
const EARLIER_SEGMENT_BYTES: usize = 512 << 10;

/// Opens or creates sled in a folder.
///
/// sled's snapshot records where its pages are in the log. If snapshot and log disagree, only the
/// log is read, up to its first damage. sled overwrites everything after that, so the old files are
/// kept in `damaged-1/` or the next free number.
///
/// # Errors
/// [`IndexError::InUse`], [`IndexError::Open`], and [`IndexError::Corrupt`] if the log alone is not
/// enough. The files are then unchanged.
pub fn open(path: &Path, cache_bytes: u64) -> Result<sled::Db, IndexError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .segment_size(segment_bytes(path));
    let open_error = |source| IndexError::Open {
        path: path.to_owned(),
        source,
    };
    match attempt(&config) {
        Ok(db) => Ok(db),
        Err(error @ sled::Error::Corruption { .. }) => {
            let kept = DamagedFiles::new(path).map_err(|error| open_error(error.into()))?;
            let again = attempt(&config);
            if again.is_ok() {
                tracing::error!(kept = %kept.folder.display(),
                    "sled's files are damaged; its log was read up to the damage, and the old files are kept");
            } else {
                kept.put_back().map_err(|error| open_error(error.into()))?;
            }
            again.map_err(|_| IndexError::Corrupt {
                what: format!("sled's log in {}", path.display()),
                why: error.to_string(),
            })
        }
        Err(source) if is_locked(&source) => Err(IndexError::InUse {
            path: path.to_owned(),
            source,
        }),
        Err(source) => Err(open_error(source)),
    }
}

/// The segment size of an existing or a new store.
fn segment_bytes(path: &Path) -> usize {
    let conf = fs::read(path.join("conf")).unwrap_or_default();
    let conf = String::from_utf8_lossy(&conf);
    if conf.contains(&format!("segment_size: {EARLIER_SEGMENT_BYTES}\n")) {
        EARLIER_SEGMENT_BYTES
    } else {
        SEGMENT_BYTES
    }
}

/// Opens sled. sled may release its lock shortly after its last handle is dropped, so a held lock
/// is retried for a moment. A panic in sled means that it read unexpectedly damaged data.
fn attempt(config: &sled::Config) -> sled::Result<sled::Db> {
    let mut attempts_left = 10;
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Err(error)) if is_locked(&error) && attempts_left > 0 => {
                attempts_left -= 1;
                thread::sleep(Duration::from_millis(30));
            }
            Ok(opened) => return opened,
            Err(_) => return Err(sled::Error::Corruption { at: None, bt: () }),
        }
    }
}

fn is_locked(error: &sled::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// sled's files before recovery: a copy of the log, and the snapshots, moved out of sled's way.
struct DamagedFiles {
    store: PathBuf,
    folder: PathBuf,
}

impl DamagedFiles {
    const LOG: &str = "db";

    fn new(store: &Path) -> io::Result<Self> {
        let mut number = 1;
        let folder = loop {
            let folder = store.join(format!("damaged-{number}"));
            match fs::create_dir(&folder) {
                Ok(()) => break folder,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        };
        // A service that restarts in a loop must not fill the disk with partial copies.
        if let Err(error) = fs::copy(store.join(Self::LOG), folder.join(Self::LOG)) {
            fs::remove_dir_all(folder)?;
            return Err(error);
        }
        move_snapshots(store, &folder)?;
        Ok(DamagedFiles {
            store: store.to_owned(),
            folder,
        })
    }

    fn put_back(self) -> io::Result<()> {
        fs::rename(self.folder.join(Self::LOG), self.store.join(Self::LOG))?;
        // Snapshots that sled made since are removed.
        for name in snapshots(&self.store)? {
            fs::remove_file(self.store.join(name))?;
        }
        move_snapshots(&self.folder, &self.store)?;
        fs::remove_dir(self.folder)
    }
}

fn move_snapshots(from: &Path, to: &Path) -> io::Result<()> {
    for name in snapshots(from)? {
        fs::rename(from.join(&name), to.join(&name))?;
    }
    Ok(())
}

/// The names of sled's snapshot files in a folder.
fn snapshots(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") {
            names.push(name);
        }
    }
    Ok(names)
}
