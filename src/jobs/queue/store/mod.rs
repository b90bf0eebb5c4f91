//! Jobs on disk, in a tree of sled: a record and events of each job, and idempotency keys. If
//! several services share jobs, the tree is a copy of their shared records, and writes go to these
//! first.
//!
//! - `claim`: claims on jobs and ranges
//! - `copy`: keeps the copy up to date
//! - `list`: jobs by age
//! - `ranges`: the ranges of a job

pub mod claim;
mod copy;
mod list;
mod ranges;

use std::collections::HashSet;

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    index::{IndexError, Tree},
    jobs::record::{Event, Job},
    replica::{SharedRecords, SharedRecordsError},
};

/// The first byte of a key: the kind of the entry. The job's UUID follows, then the number of an
/// event or range.
const JOB: u8 = b'j';
const EVENT: u8 = b'e';
const RANGE: u8 = b'r';
/// A request that a job stop.
const STOP: u8 = b'c';
/// The id of the job of an idempotency key. The key follows.
const KEY: u8 = b'k';
/// The revision of the shared record of another key of the tree. That key follows.
const REVISION: u8 = b'v';

/// Why jobs cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The tree cannot be read or written.
    #[error(transparent)]
    Tree(#[from] IndexError),
    /// A shared record cannot be read or written, or another worker changed it.
    #[error(transparent)]
    SharedRecords(#[from] SharedRecordsError),
    /// A record or event is malformed, or a newer program wrote it.
    #[error("a record of job {id} cannot be read: {source}")]
    Malformed { id: Uuid, source: serde_json::Error },
    /// A job cannot be encoded as JSON.
    #[error("a job cannot be written: {source}")]
    Encode {
        #[from]
        source: serde_json::Error,
    },
}

impl From<sled::Error> for StoreError {
    fn from(source: sled::Error) -> Self {
        IndexError::from(source).into()
    }
}

/// The stored jobs. Reads use the tree. Writes go to the shared records first, if there are any,
/// and are copied to the tree from there.
pub struct Store {
    tree: Tree,
    records: Option<SharedRecords>,
    /// Counts the changes of all jobs.
    changes: watch::Sender<u64>,
    /// Held from the lookup of an idempotency key until it is written.
    adding: Mutex<()>,
    /// The jobs whose unreadable records were logged.
    unreadable: Mutex<HashSet<Uuid>>,
}

impl Store {
    pub fn new(tree: Tree, records: Option<SharedRecords>) -> Self {
        Store {
            tree,
            records,
            changes: watch::Sender::new(0),
            adding: Mutex::default(),
            unreadable: Mutex::default(),
        }
    }

    /// Returns true if several services share the jobs.
    pub fn is_shared(&self) -> bool {
        self.records.is_some()
    }

    /// Returns a receiver that sees a change whenever any job changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Adds a job. If the idempotency key was used before and its job still exists, returns that
    /// job instead. If another service is adding a job with the same key, this job gets the same
    /// id, and the service that writes it first has added it.
    pub async fn add(&self, job: &mut Job, key: Option<&str>) -> Result<Option<Job>, StoreError> {
        if let (Some(records), Some(key)) = (&self.records, key) {
            match self.job_of_key(records, key, job.id).await? {
                JobOfKey::Existing(earlier) => return Ok(Some(*earlier)),
                JobOfKey::New(id) => job.id = id,
            }
        }
        let queued = Event::new(1, "queued", json!({}));
        let (job_key, event) = (key_of(JOB, job.id), numbered(EVENT, job.id, queued.id));
        let (record, queued) = (serde_json::to_vec(job)?, serde_json::to_vec(&queued)?);
        if let Some(records) = &self.records {
            let is_taken = |put: &Result<u64, StoreError>| {
                matches!(
                    put,
                    Err(StoreError::SharedRecords(
                        SharedRecordsError::Conflict { .. }
                    ))
                )
            };
            // The event comes first, so that a reader of the job finds it.
            let put = self.put(event, queued, 0).await;
            if !is_taken(&put) {
                put?;
            }
            let put = self.put(job_key, record, 0).await;
            return if is_taken(&put) {
                self.latest(records, job.id).await
            } else {
                put.map(|_| None)
            };
        }
        let _adding = self.adding.lock();
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
        batch.insert(job_key, record);
        self.tree.write(|tree| tree.apply_batch(batch))?;
        self.changed();
        Ok(None)
    }

    /// Writes a job, if no other worker wrote it since it was read.
    pub async fn write(&self, job: &mut Job) -> Result<(), StoreError> {
        let record = serde_json::to_vec(job)?;
        job.revision = self.put(key_of(JOB, job.id), record, job.revision).await?;
        Ok(())
    }

    pub fn get(&self, id: Uuid) -> Result<Option<Job>, StoreError> {
        let key = key_of(JOB, id);
        // Read before the record, so that it is never newer than the record.
        let tree = self.tree.open()?;
        let revision = revision(&tree, &key)?;
        let record = tree.get(key)?;
        record.map(|record| job(id, &record, revision)).transpose()
    }

    /// Returns a job, even one that another service has just written.
    pub async fn find(&self, id: Uuid) -> Result<Option<Job>, StoreError> {
        match (self.get(id)?, &self.records) {
            (None, Some(records)) => {
                records.catch_up(&record_key(&key_of(JOB, id))).await?;
                self.get(id)
            }
            (found, _) => Ok(found),
        }
    }

    /// Appends an event to a job.
    pub async fn append(&self, id: Uuid, event: &str, data: Value) -> Result<(), StoreError> {
        let last = self.tree.open()?.scan_prefix(key_of(EVENT, id)).next_back();
        let last = last.transpose()?.and_then(|(key, _)| number(&key));
        let mut event = Event::new(last.unwrap_or(0) + 1, event, data);
        loop {
            let key = numbered(EVENT, id, event.id);
            match self.put(key, serde_json::to_vec(&event)?, 0).await {
                // Another worker has just appended an event.
                Err(StoreError::SharedRecords(SharedRecordsError::Conflict { .. })) => {
                    event.id += 1;
                }
                put => return put.map(drop),
            }
        }
    }

    /// Returns the events of a job after a given event.
    pub fn events(&self, id: Uuid, after: u32) -> Result<Vec<Event>, StoreError> {
        let first = numbered(EVENT, id, after.saturating_add(1));
        let end = [key_of(EVENT, id), vec![u8::MAX; 5]].concat();
        let tree = self.tree.open()?;
        let events = tree.range(first..end);
        events.map(|event| read(id, &event?.1)).collect()
    }

    /// Asks the worker that runs a job to stop.
    pub async fn ask_to_stop(&self, id: Uuid) -> Result<(), StoreError> {
        let asked = self.put(key_of(STOP, id), Vec::new(), 0).await;
        match asked {
            Err(StoreError::SharedRecords(SharedRecordsError::Conflict { .. })) => Ok(()),
            asked => asked.map(drop),
        }
    }

    /// Returns true if a job was asked to stop.
    pub fn is_to_stop(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(self.tree.open()?.contains_key(key_of(STOP, id))?)
    }

    /// Removes a job with its events.
    pub async fn remove(&self, id: Uuid) -> Result<(), StoreError> {
        self.delete(key_of(JOB, id)).await
    }

    /// Waits until all writes are durable.
    pub async fn flush(&self) -> Result<(), StoreError> {
        Ok(self.tree.flush().await?)
    }

    async fn put(&self, key: Vec<u8>, value: Vec<u8>, after: u64) -> Result<u64, StoreError> {
        if let Some(records) = &self.records {
            return Ok(records.put(&record_key(&key), value.into(), after).await?);
        }
        self.tree.write(|tree| tree.insert(key, value))?;
        self.changed();
        Ok(0)
    }

    async fn delete(&self, key: Vec<u8>) -> Result<(), StoreError> {
        if let Some(records) = &self.records {
            // The job itself last, so that no events of an unknown job are left.
            for keys in dependent_keys(&key) {
                records.purge(&keys).await?;
            }
            return Ok(records.remove(&record_key(&key)).await?);
        }
        let removal = self.removal_of(&key)?;
        self.tree.write(|tree| tree.apply_batch(removal))?;
        self.changed();
        Ok(())
    }

    /// Returns the batch that removes a key. For a job, it also removes all other entries of the
    /// job.
    fn removal_of(&self, key: &[u8]) -> Result<sled::Batch, StoreError> {
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

/// The job of an idempotency key.
pub(crate) enum JobOfKey {
    Existing(Box<Job>),
    /// A job of this id is about to be created, here or by another service.
    New(Uuid),
}

/// Returns the key of the shared record of a tree's key, in readable form: `job.…`, `event.….1`.
pub(crate) fn record_key(key: &[u8]) -> String {
    let id = id_in(key);
    match (key.first(), number(key)) {
        (Some(&EVENT), Some(number)) => format!("event.{id}.{number}"),
        (Some(&RANGE), Some(number)) => format!("range.{id}.{number}"),
        (Some(&STOP), _) => format!("stop.{id}"),
        (Some(&KEY), _) => String::new(),
        _ => format!("job.{id}"),
    }
}

/// Returns the keys of the shared records that are removed with a job.
pub(crate) fn dependent_keys(key: &[u8]) -> Vec<String> {
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
