//! Jobs on disk: a record each, what happened to each in order, and the keys that requests were given with.
//! Knows a tree of sled and its keys; neither what jobs do nor when one is begun.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Job;

/// What is under a key, by its first byte; a job's UUID follows.
const JOB: u8 = b'j';
const EVENT: u8 = b'e';
/// A request's key follows.
const KEY: u8 = b'k';

/// Why jobs cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled failed.
    #[error("the store of jobs failed to read or write")]
    Tree {
        /// What it said.
        #[from]
        source: sled::Error,
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

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, counting from 1.
    pub id: u32,
    /// What happened: the state it came to, or `progress`.
    pub event: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What there is to tell.
    pub data: Value,
}

/// A tree of jobs.
pub struct Store(sled::Tree);

impl Store {
    pub fn new(tree: sled::Tree) -> Self {
        Store(tree)
    }

    /// Adds a job, unless its request's key was given before: then that one's job, if it is still there.
    pub fn add(&self, job: &Job, key: Option<&str>) -> Result<Option<Job>, StoreError> {
        let mut batch = sled::Batch::default();
        if let Some(key) = key {
            let key = [&[KEY], key.as_bytes()].concat();
            let earlier = self.0.get(&key)?;
            let earlier = earlier.and_then(|id| Uuid::from_slice(&id).ok());
            if let Some(earlier) = earlier.map_or(Ok(None), |id| self.get(id))? {
                return Ok(Some(earlier));
            }
            batch.insert(key, job.id.as_bytes());
        }
        batch.insert(key_of(JOB, job.id), serde_json::to_vec(job)?);
        self.0.apply_batch(batch)?;
        Ok(None)
    }

    /// Writes a job anew.
    pub fn write(&self, job: &Job) -> Result<(), StoreError> {
        self.0
            .insert(key_of(JOB, job.id), serde_json::to_vec(job)?)?;
        Ok(())
    }

    pub fn get(&self, id: Uuid) -> Result<Option<Job>, StoreError> {
        let job = self.0.get(key_of(JOB, id))?;
        job.map(|job| read(id, &job)).transpose()
    }

    /// The newest first, before one of them.
    pub fn list(&self, before: Option<Uuid>, limit: usize) -> Result<Vec<Job>, StoreError> {
        let end = before.map_or(vec![JOB + 1], |before| key_of(JOB, before));
        let entries = self.0.range(vec![JOB]..end).rev().take(limit);
        entries.map(job).collect()
    }

    /// Those that are not over, the oldest first.
    pub fn unfinished(&self) -> Result<Vec<Job>, StoreError> {
        let all = self.0.scan_prefix([JOB]).map(job);
        let unfinished =
            |job: &Result<Job, _>| job.as_ref().map_or(true, |job: &Job| !job.state.is_over());
        all.filter(unfinished).collect()
    }

    /// Notes that something happened to a job.
    pub fn append(&self, id: Uuid, event: &str, at_ms: u64, data: Value) -> Result<(), StoreError> {
        let last = self.0.scan_prefix(key_of(EVENT, id)).next_back();
        let last = last.transpose()?.and_then(|(key, _)| number(&key));
        let event = Event {
            id: last.unwrap_or(0) + 1,
            event: event.to_owned(),
            at_ms,
            data,
        };
        let key = [key_of(EVENT, id), event.id.to_be_bytes().to_vec()].concat();
        self.0.insert(key, serde_json::to_vec(&event)?)?;
        Ok(())
    }

    /// What happened to a job after an event.
    pub fn events(&self, id: Uuid, after: u32) -> Result<Vec<Event>, StoreError> {
        let from = [
            key_of(EVENT, id),
            after.saturating_add(1).to_be_bytes().to_vec(),
        ]
        .concat();
        let to = [key_of(EVENT, id), vec![u8::MAX; 5]].concat();
        let events = self.0.range(from..to);
        events.map(|event| read(id, &event?.1)).collect()
    }

    /// Forgets a job.
    pub fn remove(&self, id: Uuid) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for key in self.0.scan_prefix(key_of(EVENT, id)).keys() {
            batch.remove(key?);
        }
        batch.remove(key_of(JOB, id));
        Ok(self.0.apply_batch(batch)?)
    }

    /// Returns when all that was written is durable.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0.flush_async().await?;
        Ok(())
    }
}

fn key_of(first: u8, id: Uuid) -> Vec<u8> {
    [&[first], &id.as_bytes()[..]].concat()
}

/// The number at the end of an event's key.
fn number(key: &[u8]) -> Option<u32> {
    key.last_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn job(entry: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Job, StoreError> {
    let (key, value) = entry?;
    let id = Uuid::from_slice(key.get(1..).unwrap_or_default()).unwrap_or_default();
    read(id, &value)
}

fn read<T: serde::de::DeserializeOwned>(id: Uuid, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|source| StoreError::Malformed { id, source })
}
