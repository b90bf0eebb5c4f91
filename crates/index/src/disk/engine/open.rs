//! Opening sled, whoever held it before and whatever state its files are in.
//! Knows sled's files by name and nothing of what is stored in them.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::types::error::IndexError;

/// How often sled flushes by itself. It gives back the space of what was replaced then and only then, some at a time.
const FLUSH_EVERY_MS: u64 = 20;
/// The size of a segment of sled's log. A page larger than a quarter of it goes to a file of its own; if that cannot be written, sled waits
/// for it for ever. No page of an index is as large.
const SEGMENT_BYTES: usize = 2 << 20;
/// That of stores made by earlier programs, which keep it until they are compacted.
const EARLIER_SEGMENT_BYTES: usize = 512 << 10;

/// Opens or makes the tree in a folder.
///
/// sled remembers in a snapshot where its pages lie in its log. Where the two do not agree, the log alone is read, up to
/// what is damaged in it. Since sled overwrites what comes after that, the files are kept as they were, in `damaged-1/` or
/// the next number that is free.
///
/// # Errors
/// [`IndexError::InUse`], [`IndexError::Open`], and [`IndexError::Corrupt`] where the log alone is not enough; the files
/// are as they were then.
pub fn open(path: &Path, cache_bytes: u64) -> Result<sled::Db, IndexError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .segment_size(segment_bytes(path));
    let cannot = |source| IndexError::Open {
        path: path.to_owned(),
        source,
    };
    match attempt(&config) {
        Ok(db) => Ok(db),
        Err(error @ sled::Error::Corruption { .. }) => {
            let kept = Kept::new(path).map_err(|error| cannot(error.into()))?;
            let again = attempt(&config);
            if again.is_ok() {
                tracing::error!(kept = %kept.folder.display(),
                    "sled's files are damaged; its log is read up to there, and the files are kept as they were");
            } else {
                kept.put_back().map_err(|error| cannot(error.into()))?;
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
        Err(source) => Err(cannot(source)),
    }
}

/// The size of segments that a store has, or that a new one gets.
fn segment_bytes(path: &Path) -> usize {
    let conf = fs::read(path.join("conf")).unwrap_or_default();
    let conf = String::from_utf8_lossy(&conf);
    match conf.contains(&format!("segment_size: {EARLIER_SEGMENT_BYTES}\n")) {
        true => EARLIER_SEGMENT_BYTES,
        false => SEGMENT_BYTES,
    }
}

/// sled may let go of its lock a moment after its last handle is dropped, so a held lock is given that moment. Where sled
/// panics, what it read was damaged in a way it did not expect.
fn attempt(config: &sled::Config) -> sled::Result<sled::Db> {
    let mut patience = 10;
    loop {
        match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Err(error)) if is_locked(&error) && patience > 0 => {
                patience -= 1;
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

/// sled's files as they were: a copy of the log, and the snapshots themselves, which are out of the way with that.
struct Kept {
    store: PathBuf,
    folder: PathBuf,
}

impl Kept {
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
        // A service that is started again and again must not fill the disk with halves of a copy.
        if let Err(error) = fs::copy(store.join(Self::LOG), folder.join(Self::LOG)) {
            fs::remove_dir_all(folder)?;
            return Err(error);
        }
        move_snapshots(store, &folder)?;
        Ok(Kept {
            store: store.to_owned(),
            folder,
        })
    }

    fn put_back(self) -> io::Result<()> {
        fs::rename(self.folder.join(Self::LOG), self.store.join(Self::LOG))?;
        // Whatever sled made meanwhile goes where it came from.
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

/// The names of sled's snapshots in a folder.
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
