//! The records on their way into a copy of them: each as it is now, in the order of their revisions, and again from where it was after a stop.
//! Knows revisions; neither where the copy is nor what a record says.

use std::{convert::Infallible, time::Duration};

use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use crate::replica::board::{SharedRecords, SharedRecordsError, unavailable};

/// How long after the records could not be read they are again.
const AGAIN: Duration = Duration::from_millis(300);
/// How long nothing may come before it is asked whether there is more. A consumer that was forgotten while it was cut off does not notice it.
const LOOK: Duration = Duration::from_secs(2);
/// Says of a message what is done to its key; nothing where it is written.
const OPERATION: &str = "KV-Operation";

/// What is to be done to a copy.
pub enum RecordChange {
    /// It is of records that are gone, and begins anew.
    Anew,
    /// A record was written.
    Put {
        /// Its key.
        key: String,
        /// What it says.
        value: Bytes,
        /// Its revision.
        revision: u64,
    },
    /// A record was removed.
    Gone {
        /// Its key.
        key: String,
        /// The revision of that.
        revision: u64,
    },
}

enum Broken<E> {
    SharedRecords(SharedRecordsError),
    Copy(E),
}

impl SharedRecords {
    /// Has a copy follow the records after a revision, for as long as it takes what is noted.
    ///
    /// # Errors
    /// The copy's own.
    pub async fn follow<E, F: Future<Output = Result<(), E>>>(
        &self,
        mut seen: u64,
        mut note: impl FnMut(RecordChange) -> F,
    ) -> Result<Infallible, E> {
        self.seen.send_replace(seen);
        loop {
            match self.go_on(&mut seen, &mut note).await {
                Ok(never) => match never {},
                Err(Broken::Copy(error)) => return Err(error),
                Err(Broken::SharedRecords(error)) => {
                    tracing::warn!(%error, "read again soon");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn go_on<E, F: Future<Output = Result<(), E>>>(
        &self,
        seen: &mut u64,
        note: &mut impl FnMut(RecordChange) -> F,
    ) -> Result<Infallible, Broken<E>> {
        let failed = |error: &dyn std::fmt::Display| Broken::SharedRecords(unavailable(error));
        let name = format!("KV_{}", self.bucket);
        let stream = self.context.get_stream(&name).await;
        let mut stream = stream.map_err(|error| failed(&error))?;
        if stream.cached_info().state.last_sequence < *seen {
            note(RecordChange::Anew).await.map_err(Broken::Copy)?;
            *seen = 0;
        }
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: *seen + 1,
            },
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let messages = consumer.map_err(|error| failed(&error))?.messages().await;
        let mut messages = messages.map_err(|error| failed(&error))?;
        loop {
            let message = match timeout(LOOK, messages.next()).await {
                Ok(Some(message)) => message.map_err(|error| failed(&error))?,
                Ok(None) => return Err(failed(&"they ended")),
                Err(_) => {
                    let info = stream.info().await.map_err(|error| failed(&error))?;
                    let last = info.state.last_sequence;
                    // What was removed without a trace does not come.
                    if last > *seen && stream.get_raw_message(last).await.is_ok() {
                        return Err(failed(&"nothing comes of them"));
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
            let noted = match headers.and_then(|headers| headers.get(OPERATION)) {
                Some(_) => RecordChange::Gone { key, revision },
                None => RecordChange::Put {
                    key,
                    value: message.payload.clone(),
                    revision,
                },
            };
            note(noted).await.map_err(Broken::Copy)?;
            *seen = revision;
            self.seen.send_replace(revision);
        }
    }
}
