//! A copy of a store that is written to meanwhile: all keys as they were at one commit, as a stream, and the store that is made of one.
//! Knows keys and values as bytes; neither what they say nor where the stream goes.

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
    Index,
    api::replication,
    disk::{engine::open, schema, state::Acknowledged},
    types::error::IndexError,
    view::store::Store,
    write::group::Group,
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

/// The moment of which a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many commits there had been.
    pub commit: u64,
    /// How many images there were.
    pub images: u64,
    /// The version of the layout.
    pub schema: u32,
    /// How much of a log was applied, where the index follows one.
    pub position: Option<u64>,
}

/// What was changed since it was begun, the last of each key.
type Changes = HashMap<IVec, Option<IVec>>;

impl Index {
    /// Writes all that is in the index to a stream, as it is at one commit, and tells which. Searches go on beside it, and so do writes but
    /// for some hundredths of a second.
    ///
    /// The tree is read key by key, and whatever changes from then on is written after it, up to a moment at which nothing does.
    ///
    /// # Errors
    /// [`IndexError::Copy`] if the stream fails, [`Reopening`](IndexError::Reopening) if the store was opened again after a failed write,
    /// [`Store`](IndexError::Store), [`Closed`](IndexError::Closed).
    pub async fn copy<W: Write + Send + 'static>(&self, to: W) -> Result<(W, Cut), IndexError> {
        let store = self.0.store.clone();
        let stop = Stop::default();
        let times = store.database().times();
        let db = store.db()?;
        let follower = follow(db.watch_prefix([]), stop.0.clone())?;
        let of = store.clone();
        let written = blocking(move || write_tree(&of, &db, to)).await;
        let cut = move |group: &mut Group<'_>| {
            // On the thread that writes: nothing changes until this is done.
            drop(stop);
            let changes = follower.join().unwrap_or_default();
            if store.database().times() != times {
                // What changed since then is not known.
                return Err(IndexError::Reopening);
            }
            let cut = Cut {
                commit: group.commits(),
                images: store.present().images,
                schema: schema::SCHEMA,
                position: replication::position(&*store.db()?)?,
            };
            Ok((changes, cut))
        };
        let (changes, cut) = self.0.writer.submit(cut).await?;
        let to = written?;
        let to = blocking(move || write_changes(changes, cut.commit, to)).await?;
        Ok((to, cut))
    }
}

/// Has whoever follows changes stop when it is dropped, and so when the copy is given up.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IndexError> + Send + 'static,
) -> Result<T, IndexError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(IndexError::Closed))
}

/// Takes note of what changes until told to stop, and then of the rest.
fn follow(
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

fn write_tree<W: Write>(store: &Store, tree: &sled::Tree, mut to: W) -> Result<W, IndexError> {
    to.write_all(MAGIC).map_err(failed)?;
    for entry in tree.iter() {
        if store.database().has_failed() {
            // sled cannot be opened again before this ends.
            return Err(IndexError::Reopening);
        }
        let (key, value) = entry?;
        write_entry(&mut to, &key, Some(&value)).map_err(failed)?;
    }
    Ok(to)
}

fn write_changes<W: Write>(changes: Changes, commit: u64, mut to: W) -> Result<W, IndexError> {
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
    let db = open::open(folder, cache_bytes)?;
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
