//! Jobs on disk: a record each, what happened to each in order, and the keys that requests were given with; where there are several services, a
//! copy of what they write down together. Knows a tree of sled and its keys; neither what jobs do nor when one is begun.

mod copy;
pub mod hold;
mod list;
mod ranges;

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    index::{IndexError, Tree},
    jobs::record::{Event, Job},
    replica::{SharedRecords, SharedRecordsError},
};

/// What is under a key, by its first byte; a job's UUID follows, and behind that an event's or a range's number.
const JOB: u8 = b'j';
const EVENT: u8 = b'e';
const RANGE: u8 = b'r';
/// That a job is to stop.
const STOP: u8 = b'c';
/// A request's key follows.
const KEY: u8 = b'k';
/// A key of the tree follows: at which revision of the board what is under it is.
const REVISION: u8 = b'v';

/// Why jobs cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The tree cannot be read or written.
    #[error(transparent)]
    Tree {
        /// Why not.
        #[from]
        source: IndexError,
    },
    /// What is written down together cannot be, or was by another.
    #[error(transparent)]
    SharedRecords {
        /// Why.
        #[from]
        source: SharedRecordsError,
    },
    /// Something else than a job or an event was found.
    #[error("what is kept of job {id} cannot be read: {source}")]
    Malformed {
        /// Which.
        id: Uuid,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A job that cannot be put into JSON.
    #[error("a job cannot be written: {source}")]
    Encode {
        /// Why not.
        #[from]
        source: serde_json::Error,
    },
}

impl From<sled::Error> for StoreError {
    fn from(source: sled::Error) -> Self {
        IndexError::from(source).into()
    }
}

/// A tree of jobs. What is read comes from it; what is written goes to the board first, where there is one, and comes from there.
pub struct Store {
    tree: Tree,
    board: Option<SharedRecords>,
    /// Counts what happened to any job.
    changes: watch::Sender<u64>,
    /// Held from when a request's key is looked for until it is there.
    adding: Mutex<()>,
    /// Jobs whose records cannot be read, which was told.
    unreadable: Mutex<HashSet<Uuid>>,
}

impl Store {
    pub fn new(tree: Tree, board: Option<SharedRecords>) -> Self {
        Store {
            tree,
            board,
            changes: watch::Sender::new(0),
            adding: Mutex::default(),
            unreadable: Mutex::default(),
        }
    }

    /// Whether other services do jobs too.
    pub fn is_shared(&self) -> bool {
        self.board.is_some()
    }

    /// Changes whenever anything happens to any job.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Adds a job, unless its request's key was given before: then that one's job, if it is still there. If another service begins to add
    /// the job of that key, this one has its id, and whichever writes it first has added it.
    pub async fn add(&self, job: &mut Job, key: Option<&str>) -> Result<Option<Job>, StoreError> {
        if let (Some(board), Some(key)) = (&self.board, key) {
            match self.given_before(board, key, job.id).await? {
                Given::Job(earlier) => return Ok(Some(*earlier)),
                Given::Id(id) => job.id = id,
            }
        }
        let queued = Event::new(1, "queued", json!({}));
        let (at, event) = (key_of(JOB, job.id), numbered(EVENT, job.id, queued.id));
        let (record, queued) = (serde_json::to_vec(job)?, serde_json::to_vec(&queued)?);
        if let Some(board) = &self.board {
            let is_taken = |put: &Result<u64, StoreError>| {
                matches!(
                    put,
                    Err(StoreError::SharedRecords {
                        source: SharedRecordsError::Taken { .. }
                    })
                )
            };
            // Whoever sees the job sees that it waits.
            let put = self.put(event, queued, 0).await;
            if !is_taken(&put) {
                put?;
            }
            let put = self.put(at, record, 0).await;
            return match is_taken(&put) {
                true => self.at_board(board, job.id).await,
                false => put.map(|_| None),
            };
        }
        let adding = self.adding.lock();
        let _adding = adding.unwrap_or_else(PoisonError::into_inner);
        let mut batch = sled::Batch::default();
        if let Some(key) = key {
            let key = [&[KEY], key.as_bytes()].concat();
            let earlier = self.tree.open()?.get(&key)?;
            let earlier = earlier.and_then(|id| Uuid::from_slice(&id).ok());
            if let Some(earlier) = earlier.map_or(Ok(None), |id| self.get(id))? {
                return Ok(Some(earlier));
            }
            batch.insert(key, job.id.as_bytes());
        }
        batch.insert(event, queued);
        batch.insert(at, record);
        self.tree.write(|tree| tree.apply_batch(batch))?;
        self.changed();
        Ok(None)
    }

    /// Writes a job anew, if nobody else did since it was read.
    pub async fn write(&self, job: &mut Job) -> Result<(), StoreError> {
        let record = serde_json::to_vec(job)?;
        job.revision = self.put(key_of(JOB, job.id), record, job.revision).await?;
        Ok(())
    }

    pub fn get(&self, id: Uuid) -> Result<Option<Job>, StoreError> {
        let key = key_of(JOB, id);
        // Before the record, so that it is never taken for that of an older one.
        let tree = self.tree.open()?;
        let revision = revision(&tree, &key)?;
        let record = tree.get(key)?;
        record.map(|record| job(id, &record, revision)).transpose()
    }

    /// The same, also of a job that another service wrote down a moment ago.
    pub async fn find(&self, id: Uuid) -> Result<Option<Job>, StoreError> {
        match (self.get(id)?, &self.board) {
            (None, Some(board)) => {
                board.catch_up(&told(&key_of(JOB, id))).await?;
                self.get(id)
            }
            (found, _) => Ok(found),
        }
    }

    /// Notes that something happened to a job.
    pub async fn append(&self, id: Uuid, event: &str, data: Value) -> Result<(), StoreError> {
        let last = self.tree.open()?.scan_prefix(key_of(EVENT, id)).next_back();
        let last = last.transpose()?.and_then(|(key, _)| number(&key));
        let mut event = Event::new(last.unwrap_or(0) + 1, event, data);
        loop {
            let key = numbered(EVENT, id, event.id);
            match self.put(key, serde_json::to_vec(&event)?, 0).await {
                // Another told something at this moment.
                Err(StoreError::SharedRecords {
                    source: SharedRecordsError::Taken { .. },
                }) => event.id += 1,
                put => return put.map(drop),
            }
        }
    }

    /// What happened to a job after an event.
    pub fn events(&self, id: Uuid, after: u32) -> Result<Vec<Event>, StoreError> {
        let from = numbered(EVENT, id, after.saturating_add(1));
        let to = [key_of(EVENT, id), vec![u8::MAX; 5]].concat();
        let tree = self.tree.open()?;
        let events = tree.range(from..to);
        events.map(|event| read(id, &event?.1)).collect()
    }

    /// Asks whoever does a job to stop.
    pub async fn ask_to_stop(&self, id: Uuid) -> Result<(), StoreError> {
        let asked = self.put(key_of(STOP, id), Vec::new(), 0).await;
        match asked {
            Err(StoreError::SharedRecords {
                source: SharedRecordsError::Taken { .. },
            }) => Ok(()),
            asked => asked.map(drop),
        }
    }

    /// Whether a job was asked to stop.
    pub fn is_to_stop(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.tree.open()?.contains_key(key_of(STOP, id))?)
    }

    /// Forgets a job.
    pub async fn remove(&self, id: Uuid) -> Result<(), StoreError> {
        self.delete(key_of(JOB, id)).await
    }

    /// Returns when all that was written is durable.
    pub async fn flush(&self) -> Result<(), StoreError> {
        Ok(self.tree.flush().await?)
    }

    async fn put(&self, key: Vec<u8>, value: Vec<u8>, after: u64) -> Result<u64, StoreError> {
        if let Some(board) = &self.board {
            return Ok(board.put(&told(&key), value.into(), after).await?);
        }
        self.tree.write(|tree| tree.insert(key, value))?;
        self.changed();
        Ok(0)
    }

    async fn delete(&self, key: Vec<u8>) -> Result<(), StoreError> {
        if let Some(board) = &self.board {
            // In this order, so that nothing is left of a job that nobody knows.
            for keys in below(&key) {
                board.forget(&keys).await?;
            }
            return Ok(board.remove(&told(&key)).await?);
        }
        let without = self.without(&key)?;
        self.tree.write(|tree| tree.apply_batch(without))?;
        self.changed();
        Ok(())
    }

    /// What goes with a key: with a job's all that is told of it.
    fn without(&self, key: &[u8]) -> Result<sled::Batch, StoreError> {
        let mut batch = sled::Batch::default();
        let mut remove = |key: &[u8]| {
            batch.remove(key);
            batch.remove([&[REVISION], key].concat());
        };
        remove(key);
        if let Some((&JOB, id)) = key.split_first() {
            let tree = self.tree.open()?;
            for first in [STOP, EVENT, RANGE] {
                for key in tree.scan_prefix([&[first], id].concat()).keys() {
                    remove(&key?);
                }
            }
        }
        Ok(batch)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

fn revision(tree: &sled::Tree, key: &[u8]) -> Result<u64, StoreError> {
    let revision = tree.get([&[REVISION], key].concat())?;
    let revision = revision.and_then(|bytes| bytes.as_ref().try_into().ok());
    Ok(revision.map_or(0, u64::from_be_bytes))
}

fn key_of(first: u8, id: Uuid) -> Vec<u8> {
    [&[first], &id.as_bytes()[..]].concat()
}

fn numbered(first: u8, id: Uuid, number: u32) -> Vec<u8> {
    [key_of(first, id), number.to_be_bytes().to_vec()].concat()
}

/// The number at the end of a key.
fn number(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn id_in(key: &[u8]) -> Uuid {
    let id = key.get(1..17).map(Uuid::from_slice);
    id.and_then(Result::ok).unwrap_or_default()
}

fn job(id: Uuid, value: &[u8], revision: u64) -> Result<Job, StoreError> {
    let mut job: Job = read(id, value)?;
    job.revision = revision;
    Ok(job)
}

fn read<T: DeserializeOwned>(id: Uuid, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|source| StoreError::Malformed { id, source })
}

/// What the key of a request stands for.
pub(crate) enum Given {
    /// A job that was made before.
    Job(Box<Job>),
    /// A job of this id, which is about to be made, here or by another service.
    Id(Uuid),
}

/// A key of the tree as the board has it: `job.…`, `event.….1`, so that people can read it there.
pub(crate) fn told(key: &[u8]) -> String {
    let id = id_in(key);
    match (key.first(), number(key)) {
        (Some(&EVENT), Some(number)) => format!("event.{id}.{number}"),
        (Some(&RANGE), Some(number)) => format!("range.{id}.{number}"),
        (Some(&STOP), _) => format!("stop.{id}"),
        (Some(&KEY), _) => String::new(),
        _ => format!("job.{id}"),
    }
}

/// The keys of what is told of a job, which go with it.
pub(crate) fn below(key: &[u8]) -> Vec<String> {
    match key.first() {
        Some(&JOB) => {
            let id = id_in(key);
            vec![
                format!("event.{id}.>"),
                format!("range.{id}.>"),
                format!("stop.{id}"),
            ]
        }
        _ => Vec::new(),
    }
}
