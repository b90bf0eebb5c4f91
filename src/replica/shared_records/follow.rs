//! Keeps a copy of the shared records up to date. Applies changes in the order of their revisions.
//! After a restart, continues from the revision of the copy.

use std::{convert::Infallible, time::Duration};

use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use crate::replica::shared_records::{SharedRecords, SharedRecordsError, unavailable};

const RETRY_DELAY: Duration = Duration::from_millis(300);
/// If no message arrives for this time, asks the stream for its last message. The servers may have
/// forgotten a consumer while it was cut off, and the consumer does not notice that.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// The header of a message that removes its key. A message that writes the key has no such header.
const OPERATION_HEADER: &str = "KV-Operation";

/// A change to apply to a copy of the records.
pub enum RecordChange {
    /// The copied records no longer exist. The copy must be emptied.
    Reset,
    Put {
        key: String,
        value: Bytes,
        revision: u64,
    },
    Removed {
        key: String,
        /// The revision of the removal.
        revision: u64,
    },
}

enum FollowError<E> {
    SharedRecords(SharedRecordsError),
    Copy(E),
}

impl SharedRecords {
    /// Calls `apply` with each change after the revision `copied`, until it fails.
    ///
    /// # Errors
    /// The error of `apply`.
    pub async fn follow<E, F: Future<Output = Result<(), E>>>(
        &self,
        mut copied: u64,
        mut apply: impl FnMut(RecordChange) -> F,
    ) -> Result<Infallible, E> {
        self.copied_revision.send_replace(copied);
        loop {
            match self.try_follow(&mut copied, &mut apply).await {
                Ok(never) => match never {},
                Err(FollowError::Copy(error)) => return Err(error),
                Err(FollowError::SharedRecords(error)) => {
                    tracing::warn!(%error, "cannot read the shared records; retrying soon");
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    async fn try_follow<E, F: Future<Output = Result<(), E>>>(
        &self,
        copied: &mut u64,
        apply: &mut impl FnMut(RecordChange) -> F,
    ) -> Result<Infallible, FollowError<E>> {
        let failed = |error: &dyn std::fmt::Display| FollowError::SharedRecords(unavailable(error));
        let name = format!("KV_{}", self.bucket);
        let stream = self.context.get_stream(&name).await;
        let mut stream = stream.map_err(|error| failed(&error))?;
        if stream.cached_info().state.last_sequence < *copied {
            apply(RecordChange::Reset)
                .await
                .map_err(FollowError::Copy)?;
            *copied = 0;
        }
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: *copied + 1,
            },
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let messages = consumer.map_err(|error| failed(&error))?.messages().await;
        let mut messages = messages.map_err(|error| failed(&error))?;
        loop {
            let message = match timeout(STALL_TIMEOUT, messages.next()).await {
                Ok(Some(message)) => message.map_err(|error| failed(&error))?,
                Ok(None) => return Err(failed(&"the stream of changes ended")),
                Err(_) => {
                    let info = stream.info().await.map_err(|error| failed(&error))?;
                    let last = info.state.last_sequence;
                    // A purged message never arrives.
                    if last > *copied && stream.get_raw_message(last).await.is_ok() {
                        return Err(failed(&"no change arrived, although the stream has more"));
                    }
                    continue;
                }
            };
            let revision = message
                .info()
                .map_err(|error| failed(&error))?
                .stream_sequence;
            let Some(key) = message.subject.strip_prefix(self.records.prefix.as_str()) else {
                continue;
            };
            let key = key.to_owned();
            let headers = message.headers.as_ref();
            let change = match headers.and_then(|headers| headers.get(OPERATION_HEADER)) {
                Some(_) => RecordChange::Removed { key, revision },
                None => RecordChange::Put {
                    key,
                    value: message.payload.clone(),
                    revision,
                },
            };
            apply(change).await.map_err(FollowError::Copy)?;
            *copied = revision;
            self.copied_revision.send_replace(revision);
        }
    }
}
