//! The tree as a copy of the board's records, which goes on where it was when the service is started again.
//! Knows how keys are written on the board, and of a record only how far the log went when its job was over.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::jobs::queue::store::told;
use crate::{
    jobs::{
        queue::store::{EVENT, Given, JOB, RANGE, REVISION, STOP, Store, StoreError, job, key_of},
        record::Job,
    },
    replica::{RecordChange, Replica, SharedRecords, SharedRecordsError},
};

/// Under which key of the tree it is how far the copy goes.
const SEEN: &[u8] = b"s";
/// How long the end of a job is kept back for what it did to the gallery. A replica that takes longer is not ready.
const PATIENCE: Duration = Duration::from_secs(15);

impl Store {
    /// Copies the board for as long as the tree can be written. That a job is over is not known here before what it did to the gallery is.
    pub async fn follow(
        &self,
        board: &SharedRecords,
        replica: &Replica,
    ) -> Result<Infallible, StoreError> {
        let seen = match self.tree.open()?.get(SEEN)? {
            Some(seen) => seen.as_ref().try_into().map_or(0, u64::from_be_bytes),
            None => {
                self.tell(board).await?;
                0
            }
        };
        let note = |noted| async move {
            if let Some(position) = position(&noted)
                && replica.is_alive()
                && !replica.reach(position, PATIENCE).await
            {
                tracing::warn!(position, "jobs are told of before what they did is here");
            }
            self.note(noted)
        };
        board.follow(seen, note).await
    }

    /// Has the others know the jobs that are here from when this service was alone.
    async fn tell(&self, board: &SharedRecords) -> Result<(), StoreError> {
        for first in [EVENT, JOB] {
            let tree = self.tree.open()?;
            let entries: Vec<_> = tree.scan_prefix([first]).collect::<Result<_, _>>()?;
            drop(tree);
            for (key, value) in entries {
                let value = Bytes::copy_from_slice(&value);
                match board.write(&told(&key), value, 0).await {
                    Ok(_) | Err(SharedRecordsError::Taken { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn note(&self, noted: RecordChange) -> Result<(), StoreError> {
        let (batch, revision) = match noted {
            RecordChange::Anew => {
                self.tree.write(sled::Tree::clear)?;
                (sled::Batch::default(), 0)
            }
            RecordChange::Put {
                key,
                value,
                revision,
            } => {
                let mut batch = sled::Batch::default();
                if let Some(key) = copied(&key) {
                    batch.insert([&[REVISION], &key[..]].concat(), &revision.to_be_bytes());
                    batch.insert(key, value.as_ref());
                }
                (batch, revision)
            }
            RecordChange::Gone { key, revision } => {
                let key = copied(&key).map(|key| self.without(&key));
                (key.transpose()?.unwrap_or_default(), revision)
            }
        };
        let mut batch = batch;
        batch.insert(SEEN, &revision.to_be_bytes());
        self.tree.write(|tree| tree.apply_batch(batch))?;
        self.changed();
        Ok(())
    }

    /// A job as the board has it.
    pub(crate) async fn at_board(
        &self,
        board: &SharedRecords,
        id: Uuid,
    ) -> Result<Option<Job>, StoreError> {
        let (record, revision) = board.get(&told(&key_of(JOB, id))).await?;
        record.map(|record| job(id, &record, revision)).transpose()
    }

    /// What a request's key was given with before; otherwise the key is that of a job of this id from now on.
    pub(crate) async fn given_before(
        &self,
        board: &SharedRecords,
        key: &str,
        id: Uuid,
    ) -> Result<Given, StoreError> {
        let digest = Sha256::digest(key.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("k.{hex}");
        loop {
            let (there, revision) = board.get(&key).await?;
            if let Some(earlier) = there.and_then(|id| Uuid::try_parse_ascii(&id).ok()) {
                match board.get(&told(&key_of(JOB, earlier))).await? {
                    (Some(record), revision) => {
                        return Ok(Given::Job(job(earlier, &record, revision)?.into()));
                    }
                    (None, 0) => return Ok(Given::Id(earlier)),
                    // It was removed.
                    (None, _) => {}
                }
            }
            match board.put(&key, id.to_string().into(), revision).await {
                Err(SharedRecordsError::Taken { .. }) => continue,
                put => return Ok(put.map(|_| Given::Id(id))?),
            }
        }
    }
}

/// How far the log went when a job was over, if that is what is noted.
fn position(noted: &RecordChange) -> Option<u64> {
    let RecordChange::Put { key, value, .. } = noted else {
        return None;
    };
    let (&JOB, _) = copied(key)?.split_first()? else {
        return None;
    };
    serde_json::from_slice::<Job>(value).ok()?.position
}

/// The reverse of [`told`]; nothing of what is not copied.
fn copied(text: &str) -> Option<Vec<u8>> {
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
