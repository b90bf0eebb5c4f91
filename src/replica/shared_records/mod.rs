//! Records that replicas and workers share next to the log, in a bucket in NATS. Only a writer that
//! knows a record's current revision can change it, and each replica keeps a copy of all records.
//!
//! - `claim`: claims on work
//! - `follow`: receives the changes and applies them to the copy

mod claim;
mod follow;

use std::time::{Duration, Instant};

use async_nats::jetstream::{
    Context,
    kv::{self, Entry, Operation, UpdateErrorKind},
    stream::LastRawMessageErrorKind,
};
use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::replica::{
    Replica, ReplicaError,
    connection::{LogConnection, START_TIMEOUT},
};

pub use claim::Claim;
pub use follow::RecordChange;

/// Maximum time until a record is written, and again until it is copied here.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Why a record could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SharedRecordsError {
    /// The record is at another revision than the writer expected.
    #[error("another worker changed the record {key}")]
    Conflict { key: String },
    /// The servers do not answer, or refuse.
    #[error("the shared records cannot be read or written: {reason}")]
    Unavailable { reason: String },
}

/// A handle on the records, cheap to clone.
#[derive(Clone)]
pub struct SharedRecords {
    context: Context,
    bucket: String,
    records: kv::Store,
    claims: kv::Store,
    /// The revision up to which the copy here goes.
    copied_revision: watch::Sender<u64>,
}

impl Replica {
    /// Opens the gallery's shared records. Creates their bucket if there is none.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn shared_records(&self) -> Result<SharedRecords, ReplicaError> {
        let connection = &self.0.connection;
        let bucket = |name: &str, max_age: Duration| kv::Config {
            bucket: format!("{}_{name}", connection.stream),
            history: 1,
            max_age,
            ..kv::Config::default()
        };
        let records = bucket("records", Duration::ZERO);
        Ok(SharedRecords {
            context: connection.context.clone(),
            bucket: records.bucket.clone(),
            records: connection.bucket(records).await?,
            claims: connection
                .bucket(bucket("claims", claim::CLAIM_LIFETIME))
                .await?,
            copied_revision: watch::Sender::new(0),
        })
    }
}

impl LogConnection {
    /// Opens or creates a bucket on as many servers as the log has.
    async fn bucket(&self, config: kv::Config) -> Result<kv::Store, ReplicaError> {
        let num_replicas = self.stream().await?.cached_info().config.num_replicas;
        let config = kv::Config {
            num_replicas,
            ..config
        };
        let began = Instant::now();
        loop {
            let made = match self.context.get_key_value(&config.bucket).await {
                Ok(there) => Ok(there),
                // If several replicas create it at once, the first one wins.
                Err(_) => self.context.create_key_value(config.clone()).await,
            };
            match made {
                Ok(made) => return Ok(made),
                Err(error) if began.elapsed() > START_TIMEOUT => {
                    return Err(self.failed(error.to_string()));
                }
                Err(error) => {
                    tracing::warn!(bucket = config.bucket, %error, "cannot open the bucket yet; retrying");
                }
            }
            sleep(RETRY_DELAY).await;
        }
    }
}

impl SharedRecords {
    /// Writes a record whose current revision is `after`, 0 if it never existed. Returns its new
    /// revision once it is copied here.
    ///
    /// # Errors
    /// [`SharedRecordsError::Conflict`] if it is at another revision;
    /// [`Unavailable`](SharedRecordsError::Unavailable), in which case the record may still have
    /// been written.
    pub async fn put(
        &self,
        key: &str,
        value: Bytes,
        after: u64,
    ) -> Result<u64, SharedRecordsError> {
        let revision = self.write(key, value, after).await?;
        self.wait_until_copied(revision).await;
        Ok(revision)
    }

    /// As [`put`](Self::put), but does not wait until the record is copied here.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn write(
        &self,
        key: &str,
        value: Bytes,
        after: u64,
    ) -> Result<u64, SharedRecordsError> {
        put(&self.records, key, value, after, WRITE_TIMEOUT).await
    }

    /// Returns a record and its revision. Returns none and 0 if it never existed, and none and the
    /// revision of its removal if it was removed.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn get(&self, key: &str) -> Result<(Option<Bytes>, u64), SharedRecordsError> {
        let began = Instant::now();
        loop {
            match self.records.entry(key).await {
                Ok(entry) => return Ok(read(entry)),
                Err(error) if began.elapsed() > WRITE_TIMEOUT => return Err(unavailable(&error)),
                Err(_) => sleep(RETRY_DELAY).await,
            }
        }
    }

    /// Waits until the copy here has the servers' current value of a key.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn catch_up(&self, key: &str) -> Result<(), SharedRecordsError> {
        let subject = format!("{}{key}", self.records.prefix);
        let stream = &self.records.stream;
        // The leader answers this request. The server that answers `get` may be behind the leader.
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => self.wait_until_copied(message.sequence).await,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            Err(error) => return Err(unavailable(&error)),
        }
        Ok(())
    }

    /// Removes a record at any revision.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn remove(&self, key: &str) -> Result<(), SharedRecordsError> {
        let removed = self.records.delete(key).await;
        removed.map_err(|error| unavailable(&error))?;
        let (_, revision) = self.get(key).await?;
        self.wait_until_copied(revision).await;
        Ok(())
    }

    /// Removes all records whose keys match a pattern, such as `event.7.>`. Copies are not notified
    /// of this change.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn purge(&self, keys: &str) -> Result<(), SharedRecordsError> {
        let subject = format!("{}{keys}", self.records.prefix);
        let purged = self.records.stream.purge().filter(subject).await;
        purged.map(drop).map_err(|error| unavailable(&error))
    }

    /// Waits for a limited time until the copy here has a revision. The record is written in any
    /// case.
    async fn wait_until_copied(&self, revision: u64) {
        let mut copied = self.copied_revision.subscribe();
        let reached = copied.wait_for(|copied| *copied >= revision);
        let _ = timeout(WRITE_TIMEOUT, reached).await;
    }
}

/// Writes a record. After a conflict, reads the record, because the answer to an earlier attempt
/// may have been lost.
async fn put(
    bucket: &kv::Store,
    key: &str,
    value: Bytes,
    mut after: u64,
    retry_for: Duration,
) -> Result<u64, SharedRecordsError> {
    let began = Instant::now();
    let conflict = || SharedRecordsError::Conflict {
        key: key.to_owned(),
    };
    loop {
        let error = match bucket.update(key, value.clone(), after).await {
            Ok(revision) => return Ok(revision),
            Err(error) => error,
        };
        if error.kind() == UpdateErrorKind::WrongLastRevision
            && let Ok(entry) = bucket.entry(key).await
        {
            match read(entry) {
                (Some(there), revision) if there == value => return Ok(revision),
                // A removed record counts as one that never existed.
                (None, revision) if after == 0 && revision > 0 => after = revision,
                _ => return Err(conflict()),
            }
            continue;
        }
        if began.elapsed() > retry_for {
            return Err(unavailable(&error));
        }
        sleep(RETRY_DELAY).await;
    }
}

fn read(entry: Option<Entry>) -> (Option<Bytes>, u64) {
    entry.map_or((None, 0), |entry| {
        let value = (entry.operation == Operation::Put).then_some(entry.value);
        (value, entry.revision)
    })
}

fn unavailable(error: &dyn std::fmt::Display) -> SharedRecordsError {
    SharedRecordsError::Unavailable {
        reason: error.to_string(),
    }
}
