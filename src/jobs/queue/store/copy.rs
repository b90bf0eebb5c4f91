//! Keeps the tree a copy of the shared records. After a restart the copy resumes where it was.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::jobs::queue::store::record_key;
use crate::{
    jobs::{
        queue::store::{
            EVENT, JOB, JobOfKey, RANGE, REVISION, STOP, Store, StoreError, job, key_of,
        },
        record::Job,
    },
    replica::{RecordChange, Replica, SharedRecords, SharedRecordsError},
};

/// The tree's key for the revision up to which it is a copy.
const COPIED_REVISION: &[u8] = b"s";
/// How long the copy of a job waits for the replica to apply the writes before its creation or its
/// end. A replica that takes longer is not ready.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(15);

impl Store {
    /// Copies the shared records until the tree cannot be written. Copies a new job only after the
    /// replica has applied the writes before it, and the end of a job after the job's own writes.
    pub async fn follow(
        &self,
        records: &SharedRecords,
        replica: &Replica,
    ) -> Result<Infallible, StoreError> {
        let copied_revision = match self.tree.open()?.get(COPIED_REVISION)? {
            Some(revision) => revision.as_ref().try_into().map_or(0, u64::from_be_bytes),
            None => {
                self.publish_jobs(records).await?;
                0
            }
        };
        let apply_change = |change| async move {
            if let Some(position) = position(&change)
                && replica.is_alive()
                && !replica.wait_for_position(position, REPLICA_TIMEOUT).await
            {
                tracing::warn!(
                    position,
                    "a job or its end is shown before the writes that precede it are applied here"
                );
            }
            self.apply_change(change)
        };
        records.follow(copied_revision, apply_change).await
    }

    /// Copies the jobs that this service created while it was alone to the shared records.
    async fn publish_jobs(&self, records: &SharedRecords) -> Result<(), StoreError> {
        for first in [EVENT, JOB] {
            let tree = self.tree.open()?;
            let entries: Vec<_> = tree.scan_prefix([first]).collect::<Result<_, _>>()?;
            drop(tree);
            for (key, value) in entries {
                let value = Bytes::copy_from_slice(&value);
                match records.write(&record_key(&key), value, 0).await {
                    Ok(_) | Err(SharedRecordsError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn apply_change(&self, change: RecordChange) -> Result<(), StoreError> {
        let (batch, revision) = match change {
            RecordChange::Reset => {
                self.tree.write(sled::Tree::clear)?;
                (sled::Batch::default(), 0)
            }
            RecordChange::Put {
                key,
                value,
                revision,
            } => {
                let mut batch = sled::Batch::default();
                if let Some(key) = tree_key(&key) {
                    batch.insert([&[REVISION], &key[..]].concat(), &revision.to_be_bytes());
                    batch.insert(key, value.as_ref());
                }
                (batch, revision)
            }
            RecordChange::Removed { key, revision } => {
                let key = tree_key(&key).map(|key| self.removal_of(&key));
                (key.transpose()?.unwrap_or_default(), revision)
            }
        };
        let mut batch = batch;
        batch.insert(COPIED_REVISION, &revision.to_be_bytes());
        self.tree.write(|tree| tree.apply_batch(batch))?;
        self.changed();
        Ok(())
    }

    /// Reads a job from the shared records.
    pub(crate) async fn latest(
        &self,
        records: &SharedRecords,
        id: Uuid,
    ) -> Result<Option<Job>, StoreError> {
        let (record, revision) = records.get(&record_key(&key_of(JOB, id))).await?;
        record.map(|record| job(id, &record, revision)).transpose()
    }

    /// Returns the job that an idempotency key was used for. If there is none, assigns the key to a
    /// job with the given id.
    pub(crate) async fn job_of_key(
        &self,
        records: &SharedRecords,
        key: &str,
        id: Uuid,
    ) -> Result<JobOfKey, StoreError> {
        let key = format!("k.{:x}", Sha256::digest(key.as_bytes()));
        loop {
            let (there, revision) = records.get(&key).await?;
            if let Some(earlier) = there.and_then(|id| Uuid::try_parse_ascii(&id).ok()) {
                match records.get(&record_key(&key_of(JOB, earlier))).await? {
                    (Some(record), revision) => {
                        return Ok(JobOfKey::Existing(job(earlier, &record, revision)?.into()));
                    }
                    (None, 0) => return Ok(JobOfKey::New(earlier)),
                    // The job was removed.
                    (None, _) => {}
                }
            }
            match records.put(&key, id.to_string().into(), revision).await {
                Err(SharedRecordsError::Conflict { .. }) => {}
                put => return Ok(put.map(|_| JobOfKey::New(id))?),
            }
        }
    }
}

/// If the change is that of a job, returns the log's position at its creation or end.
fn position(change: &RecordChange) -> Option<u64> {
    let RecordChange::Put { key, value, .. } = change else {
        return None;
    };
    let (&JOB, _) = tree_key(key)?.split_first()? else {
        return None;
    };
    serde_json::from_slice::<Job>(value).ok()?.position
}

/// The reverse of [`record_key`]. Returns none for records that are not copied.
fn tree_key(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('.');
    let first = match parts.next()? {
        "job" => JOB,
        "event" => EVENT,
        "range" => RANGE,
        "stop" => STOP,
        _ => return None,
    };
    let id = Uuid::try_parse(parts.next()?).ok()?;
    let mut key = key_of(first, id);
    if let Some(number) = parts.next() {
        let number: u32 = number.parse().ok()?;
        key.extend(number.to_be_bytes());
    }
    Some(key)
}
