//! Applies the log to the index: message by message, in order, each once, however often the
//! connection or the process ends in between.

use std::{sync::atomic::Ordering, time::Duration};

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{
        self,
        consumer::{DeliverPolicy, pull::OrderedConfig},
    },
};
use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    index::{Index, IndexError, LogPosition, Write},
    replica::{
        Replica, ReplicaError, SyncModels,
        message::{self, DecodeError},
    },
};

/// How many writes may be accepted by the index and not applied yet.
const MAX_PENDING: usize = 2048;
const RETRY_DELAY: Duration = Duration::from_millis(300);
/// The consumer is given up if no message comes for so long although the log is known to be longer.
/// The servers may have forgotten it while it was cut off, which it does not notice.
const STALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the log is not followed any more, or not just now.
enum FollowError {
    /// The log cannot be read just now.
    Log(String),
    /// The store here cannot continue: it must not skip a write that other replicas applied.
    Store(String),
}

struct Received {
    id: Option<Uuid>,
    /// None if the message is broken.
    write: Option<Write>,
}

impl From<ReplicaError> for FollowError {
    fn from(error: ReplicaError) -> Self {
        FollowError::Log(error.to_string())
    }
}

/// Applies the log until the index accepts no more.
pub(crate) async fn follow(replica: &Replica, index: &Index, sync_models: &SyncModels) {
    // The process may have been killed between storing a change of generations and changing the
    // models.
    change_models(replica, sync_models).await;
    loop {
        match apply(replica, index, sync_models).await {
            FollowError::Log(reason) => {
                tracing::warn!(reason, "the log cannot be read");
                sleep(RETRY_DELAY).await;
            }
            FollowError::Store(reason) => {
                tracing::error!(
                    reason,
                    "this replica stops applying the log; it resumes when it is started again"
                );
                replica.0.failed.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Changes the models to those of the generations; tries until that succeeds.
async fn change_models(replica: &Replica, sync_models: &SyncModels) {
    replica.0.generation_epoch.fetch_add(1, Ordering::AcqRel);
    while !sync_models().await {
        sleep(RETRY_DELAY).await;
    }
    replica.0.generation_epoch.fetch_add(1, Ordering::AcqRel);
}

async fn apply(replica: &Replica, index: &Index, sync_models: &SyncModels) -> FollowError {
    match try_apply(replica, index, sync_models).await {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

async fn try_apply(
    replica: &Replica,
    index: &Index,
    sync_models: &SyncModels,
) -> Result<std::convert::Infallible, FollowError> {
    let store = |error: IndexError| match error {
        IndexError::Reopening => FollowError::Log(error.to_string()),
        error => FollowError::Store(error.to_string()),
    };
    // By now all accepted writes are applied, or the store has failed.
    let applied = index.applied().map_err(store)?;
    let position = applied.map_or(0, |applied| applied.position);
    let stream = replica.0.connection.stream().await?;
    let state = &stream.cached_info().state;
    let (first, last) = (state.first_sequence, state.last_sequence);
    if first > position + 1 {
        let gone = ReplicaError::LogTrimmed { first, position };
        return Err(FollowError::Store(gone.to_string()));
    }
    if last < position {
        // A server that has just become the leader may not know the end of the log yet. One that
        // lost it would give the same positions to other writes.
        let ends =
            format!("the log ends at {last}, and it is applied here up to {position} already");
        return Err(FollowError::Log(ends));
    }
    if let Some(LogPosition { id: Some(id), .. }) = applied
        && first <= position
    {
        let there = stream.get_raw_message(position).await;
        let there = there.map_err(|error| FollowError::Log(error.to_string()))?;
        if id_in(Some(&there.headers)) != Some(id) {
            return Err(FollowError::Store(
                ReplicaError::LogDiverged { position }.to_string(),
            ));
        }
    }
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: position + 1,
        },
        ..OrderedConfig::default()
    };
    let log = |error: &dyn std::fmt::Display| FollowError::Log(error.to_string());
    let consumer = stream.create_consumer(config).await;
    let messages = consumer.map_err(|error| log(&error))?.messages().await;
    let mut messages = messages.map_err(|error| log(&error))?;
    let mut next = position + 1;
    let mut pending = FuturesOrdered::new();
    let mut consumer_name = None;
    let mut failure = None;
    // True while a change of generations is accepted and not applied: later messages wait.
    let mut changing_generations = false;
    loop {
        tokio::select! {
            Some((position, id, changes_generations, done)) = pending.next(), if !pending.is_empty() => {
                let done: Result<_, IndexError> = done;
                match done {
                    Err(error) if !is_write_error(&error) => return Err(store(error)),
                    done => {
                        if changes_generations && done.is_ok() {
                            change_models(replica, sync_models).await;
                            // The replica that took the request purges by itself; the others do
                            // here.
                            let index = index.clone();
                            tokio::spawn(async move { index.purge().await });
                        }
                        changing_generations &= !changes_generations;
                        replica.0.applied.send_replace(position);
                        replica.answer(id, done);
                    }
                }
            }
            // All accepted writes are answered before the log is read again, so none is accepted
            // twice.
            () = std::future::ready(()), if failure.is_some() && pending.is_empty() => {
                return Err(failure.take().unwrap_or(FollowError::Log(String::new())));
            }
            () = sleep(STALL_TIMEOUT), if failure.is_none() && pending.is_empty() => {
                if replica.0.head.load(Ordering::Relaxed) >= next {
                    return Err(FollowError::Log("no message came although the log is longer".to_owned()));
                }
            }
            message = messages.next(), if failure.is_none() && !changing_generations && pending.len() < MAX_PENDING => match message {
                Some(Ok(message)) => match receive(replica, &message, next, &mut consumer_name) {
                    Ok(Some(Received { id, write })) => {
                        let changes_generations = write.as_ref().is_some_and(Write::changes_generations);
                        changing_generations |= changes_generations;
                        let at = LogPosition { position: next, id };
                        let accepted = match write {
                            Some(write) => index.apply(at, write, replica.is_own_write(id)).await,
                            None => index.skip_message(at).await,
                        };
                        let done = accepted.map_err(store)?;
                        let position = next;
                        pending.push_back(async move {
                            (position, id, changes_generations, done.await.unwrap_or(Err(IndexError::Closed)))
                        });
                        next += 1;
                    }
                    Ok(None) => {}
                    Err(error) => failure = Some(error),
                },
                Some(Err(error)) => failure = Some(log(&error)),
                None => failure = Some(FollowError::Log("the consumer ended".to_owned())),
            },
        }
    }
}

/// Reads the next message. Returns none if it was received before.
fn receive(
    replica: &Replica,
    message: &jetstream::Message,
    next: u64,
    consumer_name: &mut Option<String>,
) -> Result<Option<Received>, FollowError> {
    let info = message
        .info()
        .map_err(|error| FollowError::Log(error.to_string()))?;
    // The client recreates a lost consumer by itself; the log may have changed in between.
    if consumer_name.get_or_insert_with(|| info.consumer.to_owned()) != info.consumer {
        return Err(FollowError::Log("the consumer was recreated".to_owned()));
    }
    let position = info.stream_sequence;
    replica.note_head(position + info.pending);
    if position < next {
        return Ok(None);
    }
    if position > next {
        return Err(FollowError::Log(format!(
            "position {next} is missing before {position}"
        )));
    }
    let id = id_in(message.headers.as_ref());
    match message::decode(&message.payload) {
        Ok(write) => Ok(Some(Received {
            id,
            write: Some(write),
        })),
        Err(DecodeError::NotUnderstood(why)) => Err(FollowError::Store(format!(
            "the message at {position} is not understood: {why}; a newer program wrote it"
        ))),
        Err(DecodeError::Broken) => {
            tracing::error!(
                position,
                "a message of the log is broken, so no program can read it; it is skipped"
            );
            replica.0.skipped_message.store(true, Ordering::Relaxed);
            Ok(Some(Received { id, write: None }))
        }
    }
}

fn id_in(headers: Option<&HeaderMap>) -> Option<Uuid> {
    let id = headers?.get(NATS_MESSAGE_ID)?;
    Uuid::try_parse(id.as_str()).ok()
}

/// Returns true if the write itself is at fault: then it fails in every store. Any other failure is
/// that of this store alone.
fn is_write_error(error: &IndexError) -> bool {
    matches!(
        error,
        IndexError::Generation { .. }
            | IndexError::Lengths { .. }
            | IndexError::WrongCodes { .. }
            | IndexError::Sketch { .. }
            | IndexError::OriginalKey { .. }
            | IndexError::Payload { .. }
            | IndexError::PreconditionFailed { .. }
            | IndexError::Unfinished { .. }
            | IndexError::Full
    )
}
