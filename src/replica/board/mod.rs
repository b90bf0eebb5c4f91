//! What replicas and workers write down together besides the log: a bucket of records in NATS, each changed only by who knows how it is now,
//! and copied by everyone. Knows keys, revisions and who holds what; nothing of what a record says.

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
    gallery::{LogConnection, START_TIMEOUT},
};

pub use claim::Claim;
pub use follow::RecordChange;

/// How long a record may take until it is written, and then until it is copied here.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Why a record is not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SharedRecordsError {
    /// It is no longer as whoever writes it believes.
    #[error("the record {key} was changed by another")]
    Taken {
        /// Which.
        key: String,
    },
    /// The servers do not answer, or refuse.
    #[error("the records of the gallery cannot be read or written: {reason}")]
    Unavailable {
        /// Why not.
        reason: String,
    },
}

/// A handle on the records, cheap to clone.
#[derive(Clone)]
pub struct SharedRecords {
    context: Context,
    bucket: String,
    records: kv::Store,
    claims: kv::Store,
    /// Up to which revision the copy here goes.
    seen: watch::Sender<u64>,
}

impl Replica {
    /// The records beside the log, in a bucket that the first to ask for it makes.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn board(&self) -> Result<SharedRecords, ReplicaError> {
        let place = &self.0.place;
        let bucket = |name: &str, max_age: Duration| kv::Config {
            bucket: format!("{}_{name}", place.stream),
            history: 1,
            max_age,
            ..kv::Config::default()
        };
        let records = bucket("records", Duration::ZERO);
        Ok(SharedRecords {
            context: place.context.clone(),
            bucket: records.bucket.clone(),
            records: place.bucket(records).await?,
            claims: place.bucket(bucket("claims", claim::LIFE)).await?,
            seen: watch::Sender::new(0),
        })
    }
}

impl LogConnection {
    /// A bucket, kept by as many servers as the log.
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
                // Of several that make it at once the first one's stands.
                Err(_) => self.context.create_key_value(config.clone()).await,
            };
            match made {
                Ok(made) => return Ok(made),
                Err(error) if began.elapsed() > START_TIMEOUT => {
                    return Err(self.failed(error.to_string()));
                }
                Err(error) => tracing::warn!(bucket = config.bucket, %error, "not there yet"),
            }
            sleep(AGAIN).await;
        }
    }
}

impl SharedRecords {
    /// Writes a record that is at a revision now, 0 where there is none, and tells its new one; returns when it is copied here too.
    ///
    /// # Errors
    /// [`SharedRecordsError::Taken`] where it is at another; [`Unavailable`](SharedRecordsError::Unavailable), and it may be written all the same.
    pub async fn put(
        &self,
        key: &str,
        value: Bytes,
        after: u64,
    ) -> Result<u64, SharedRecordsError> {
        let revision = self.write(key, value, after).await?;
        self.reach(revision).await;
        Ok(revision)
    }

    /// As [`put`](Self::put), for who does not wait until it is copied.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn write(
        &self,
        key: &str,
        value: Bytes,
        after: u64,
    ) -> Result<u64, SharedRecordsError> {
        put(&self.records, key, value, after, PATIENCE).await
    }

    /// A record with its revision; nothing and 0 where there never was one, nothing and that of its removal where it is gone.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn get(&self, key: &str) -> Result<(Option<Bytes>, u64), SharedRecordsError> {
        let began = Instant::now();
        loop {
            match self.records.entry(key).await {
                Ok(entry) => return Ok(read(entry)),
                Err(error) if began.elapsed() > PATIENCE => return Err(unavailable(&error)),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    /// Waits until the copy here has what the servers have under a key.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn catch_up(&self, key: &str) -> Result<(), SharedRecordsError> {
        let subject = format!("{}{key}", self.records.prefix);
        let stream = &self.records.stream;
        // The leader answers this one; what answers `get` may be behind it.
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => self.reach(message.sequence).await,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
            Err(error) => return Err(unavailable(&error)),
        }
        Ok(())
    }

    /// Removes a record, whatever it says.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn remove(&self, key: &str) -> Result<(), SharedRecordsError> {
        let removed = self.records.delete(key).await;
        removed.map_err(|error| unavailable(&error))?;
        let (_, revision) = self.get(key).await?;
        self.reach(revision).await;
        Ok(())
    }

    /// Removes all records of some keys, such as `event.7.>`, and leaves no trace of them: whoever copies records has to know by itself.
    ///
    /// # Errors
    /// [`SharedRecordsError::Unavailable`].
    pub async fn forget(&self, keys: &str) -> Result<(), SharedRecordsError> {
        let subject = format!("{}{keys}", self.records.prefix);
        let purged = self.records.stream.purge().filter(subject).await;
        purged.map(drop).map_err(|error| unavailable(&error))
    }

    /// Waits until the copy here has a revision, but not for ever: what was written is written.
    async fn reach(&self, revision: u64) {
        let mut seen = self.seen.subscribe();
        let _ = timeout(PATIENCE, seen.wait_for(|seen| *seen >= revision)).await;
    }
}

/// Writes a record; one whose answer was lost is looked for before it is said that another wrote it.
async fn put(
    bucket: &kv::Store,
    key: &str,
    value: Bytes,
    mut after: u64,
    patience: Duration,
) -> Result<u64, SharedRecordsError> {
    let began = Instant::now();
    let taken = || SharedRecordsError::Taken {
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
                // What was removed counts as never written.
                (None, revision) if after == 0 && revision > 0 => after = revision,
                _ => return Err(taken()),
            }
            continue;
        }
        if began.elapsed() > patience {
            return Err(unavailable(&error));
        }
        sleep(AGAIN).await;
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
