//! A copy of a store as a stream of keys and values, and the store that is made of one.

use std::{
    collections::HashMap,
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

/// What a stream begins with.
const MAGIC: &[u8; 12] = b"scihcgrl-1\r\n";

/// What follows: a key and its value, a key that is no more, or the end with the number of commits.
const PUT: u8 = 1;

const REMOVE: u8 = 2;

const END: u8 = 3;

/// The longest key or value that is believed: sled's own are shorter.
const MOST_BYTES: u32 = 1 << 30;

/// How many entries of a new store are written at a time.
const BATCH: usize = 1024;

/// How long nothing has to change until all changes are known.
const QUIET: Duration = Duration::from_millis(10);

/// What was changed since it was begun, the last of each key.
pub type Changes = HashMap<IVec, Option<IVec>>;

/// Has whoever follows changes stop when it is dropped, and so when the copy is given up.
#[derive(Default)]
pub struct Stop(pub Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes note of what changes until told to stop, and then of the rest.
pub fn follow(
    mut changes: Subscriber,
    stop: Arc<AtomicBool>,
) -> Result<JoinHandle<Changes>, IndexError> {
    let follow = move || {
        let mut seen = Changes::new();
        loop {
            match changes.next_timeout(QUIET) {
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

fn failed(source: io::Error) -> IndexError {
    IndexError::Copy { source }
}

pub fn write_tree<W: Write>(
    database: &Database,
    tree: &sled::Tree,
    mut to: W,
) -> Result<W, IndexError> {
    to.write_all(MAGIC).map_err(failed)?;
    for entry in tree.iter() {
        if database.has_failed() {
            // sled cannot be opened again before this ends.
            return Err(IndexError::Reopening);
        }
        let (key, value) = entry?;
        write_entry(&mut to, &key, Some(&value)).map_err(failed)?;
    }
    Ok(to)
}

pub fn write_changes<W: Write>(changes: Changes, commit: u64, mut to: W) -> Result<W, IndexError> {
    for (key, value) in changes {
        write_entry(&mut to, &key, value.as_deref()).map_err(failed)?;
    }
    to.write_all(&[END]).map_err(failed)?;
    to.write_all(&commit.to_be_bytes()).map_err(failed)?;
    Ok(to)
}

fn write_entry(to: &mut impl Write, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
    to.write_all(&[if value.is_some() { PUT } else { REMOVE }])?;
    for bytes in [Some(key), value].into_iter().flatten() {
        to.write_all(&(bytes.len() as u32).to_be_bytes())?;
        to.write_all(bytes)?;
    }
    Ok(())
}

/// Makes a store in a folder of what [`copy`](Index::copy) wrote. It is not opened as an index.
///
/// # Errors
/// [`IndexError::Copy`] where the stream is not a whole copy, [`Open`](IndexError::Open), [`Store`](IndexError::Store).
pub fn restore(folder: &Path, mut from: impl Read, cache_bytes: u64) -> Result<(), IndexError> {
    let invalid = |why: &str| failed(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(failed)?;
    if &magic != MAGIC {
        return Err(invalid("it does not begin as a copy of a store does"));
    }
    fs::create_dir_all(folder).map_err(failed)?;
    let db = engine::open::open(folder, cache_bytes)?;
    let (mut batch, mut entries) = (sled::Batch::default(), 0);
    let commit = loop {
        let mut kind = [0];
        from.read_exact(&mut kind).map_err(failed)?;
        match kind[0] {
            PUT => {
                let key = read_bytes(&mut from)?;
                batch.insert(key, read_bytes(&mut from)?);
            }
            REMOVE => batch.remove(read_bytes(&mut from)?),
            END => {
                let mut commit = [0; 8];
                from.read_exact(&mut commit).map_err(failed)?;
                break u64::from_be_bytes(commit);
            }
            _ => return Err(invalid("an entry of it is of no kind that there is")),
        }
        entries += 1;
        if entries % BATCH == 0 {
            db.apply_batch(std::mem::take(&mut batch))?;
        }
    };
    db.apply_batch(batch)?;
    db.flush()?;
    let (acknowledged, _) = Acknowledged::open(folder).map_err(failed)?;
    let durable = acknowledged.set(commit).and_then(|()| acknowledged.sync());
    durable.map_err(failed)
}

fn read_bytes(from: &mut impl Read) -> Result<Vec<u8>, IndexError> {
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(failed)?;
    let length = u32::from_be_bytes(length);
    if length > MOST_BYTES {
        let why = format!("an entry of it has {length} bytes, which is more than any has");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    let mut bytes = Vec::new();
    let read = from.take(u64::from(length)).read_to_end(&mut bytes);
    match read.map_err(failed)? == length as usize {
        true => Ok(bytes),
        false => Err(failed(io::ErrorKind::UnexpectedEof.into())),
    }
}
