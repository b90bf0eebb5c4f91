//! Copies a store to a stream of keys and values, and restores a store from one.

use std::{
    collections::HashMap,
    fmt::Display,
    fs,
    io::{self, Read, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::RecvTimeoutError,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use sled::{Event, IVec, Subscriber};

use crate::{
    disk::{
        engine::{self, Database},
        state::Acknowledged,
    },
    types::error::IndexError,
};

/// The start of every stream.
const MAGIC: &[u8; 12] = b"scihcgrl-1\r\n";

/// The kinds of entries: a key with its value, a removed key, or the end with the number of
/// commits.
const PUT: u8 = 1;
const REMOVE: u8 = 2;
const END: u8 = 3;

/// The maximum length of a key or value in bytes; sled's are shorter.
const MAX_ENTRY_BYTES: u32 = 1 << 30;

/// The number of entries restored in one batch.
const BATCH: usize = 1024;

/// The time without changes after which all changes are known.
const QUIET_PERIOD: Duration = Duration::from_millis(10);

/// The changes since the copy began: the last one of each key.
pub type Changes = HashMap<IVec, Option<IVec>>;

/// Stops [`follow`] when dropped, and so also if the copy is cancelled.
#[derive(Default)]
pub struct Stop(pub Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Collects changes in a thread until `stop` is set, and then those that are still pending.
pub fn follow(
    mut changes: Subscriber,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<Changes>, IndexError> {
    let follow = move || {
        let mut seen = Changes::new();
        loop {
            match changes.next_timeout(QUIET_PERIOD) {
                Ok(Event::Insert { key, value }) => seen.insert(key, Some(value)),
                Ok(Event::Remove { key }) => seen.insert(key, None),
                Err(RecvTimeoutError::Timeout) if !stop.load(Ordering::Relaxed) => continue,
                Err(_) => return seen,
            };
        }
    };
    let thread = thread::Builder::new().name("index-copy".to_owned());
    let thread = thread.spawn(follow);
    thread.map_err(|source| IndexError::Copy { source })
}

fn copy_error(source: io::Error) -> IndexError {
    IndexError::Copy { source }
}

pub fn write_tree<W: Write>(
    database: &Database,
    tree: &sled::Tree,
    mut to: W,
) -> Result<W, IndexError> {
    to.write_all(MAGIC).map_err(copy_error)?;
    for entry in tree {
        if database.has_failed() {
            // sled cannot be reopened until this ends.
            return Err(IndexError::Reopening);
        }
        let (key, value) = entry?;
        write_entry(&mut to, &key, Some(&value)).map_err(copy_error)?;
    }
    Ok(to)
}

pub fn write_changes<W: Write>(changes: Changes, commit: u64, mut to: W) -> Result<W, IndexError> {
    for (key, value) in changes {
        write_entry(&mut to, &key, value.as_deref()).map_err(copy_error)?;
    }
    to.write_all(&[END]).map_err(copy_error)?;
    to.write_all(&commit.to_be_bytes()).map_err(copy_error)?;
    Ok(to)
}

fn write_entry(to: &mut impl Write, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
    to.write_all(&[if value.is_some() { PUT } else { REMOVE }])?;
    for bytes in [Some(key), value].into_iter().flatten() {
        let length = u32::try_from(bytes.len()).map_err(|_| too_long(bytes.len()))?;
        to.write_all(&length.to_be_bytes())?;
        to.write_all(bytes)?;
    }
    Ok(())
}

/// Restores a store in a folder from a stream that [`copy`](crate::Index::copy) wrote. Does not
/// open it as an index.
///
/// # Errors
/// [`IndexError::Copy`] if the stream is not a complete copy, [`Open`](IndexError::Open),
/// [`Store`](IndexError::Store).
pub fn restore(folder: &Path, mut from: impl Read, cache_bytes: u64) -> Result<(), IndexError> {
    let invalid =
        |why: &str| copy_error(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(copy_error)?;
    if &magic != MAGIC {
        return Err(invalid("it is not the copy of a store"));
    }
    fs::create_dir_all(folder).map_err(copy_error)?;
    let db = engine::open::open(folder, cache_bytes)?;
    let (mut batch, mut entries) = (sled::Batch::default(), 0);
    let commit = loop {
        let mut kind = [0];
        from.read_exact(&mut kind).map_err(copy_error)?;
        match kind[0] {
            PUT => {
                let key = read_bytes(&mut from)?;
                batch.insert(key, read_bytes(&mut from)?);
            }
            REMOVE => batch.remove(read_bytes(&mut from)?),
            END => {
                let mut commit = [0; 8];
                from.read_exact(&mut commit).map_err(copy_error)?;
                break u64::from_be_bytes(commit);
            }
            _ => return Err(invalid("an entry has an unknown kind")),
        }
        entries += 1;
        if entries % BATCH == 0 {
            db.apply_batch(std::mem::take(&mut batch))?;
        }
    };
    db.apply_batch(batch)?;
    db.flush()?;
    let (acknowledged, _) = Acknowledged::open(folder).map_err(copy_error)?;
    let durable = acknowledged.set(commit).and_then(|()| acknowledged.sync());
    durable.map_err(copy_error)
}

fn too_long(length: impl Display) -> io::Error {
    let why = format!("an entry has {length} bytes; it must have at most {MAX_ENTRY_BYTES}");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn read_bytes(from: &mut impl Read) -> Result<Vec<u8>, IndexError> {
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(copy_error)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ENTRY_BYTES {
        return Err(copy_error(too_long(length)));
    }
    let mut bytes = Vec::new();
    let read = from.take(u64::from(length)).read_to_end(&mut bytes);
    if read.map_err(copy_error)? == length as usize {
        Ok(bytes)
    } else {
        Err(copy_error(io::ErrorKind::UnexpectedEof.into()))
    }
}
