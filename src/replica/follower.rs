//! Applies the log to the index: message by message, in order, each once, however often the
//! connection or the process ends in between.

use std::{sync::atomic::Ordering, time::Duration};

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{
        self,
        consumer::{
            DeliverPolicy,
            pull::{Ordered, OrderedConfig},
        },
        stream::Stream,
    },
};
use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::{sync::oneshot, time::sleep};
use uuid::Uuid;

use crate::{
    index::{Index, IndexError, LogPosition, Outcome, Write},
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

/// A message that the index has accepted and may not have applied yet.
struct Accepted {
    position: u64,
    id: Option<Uuid>,
    changes_generations: bool,
    changes_layout: bool,
}

impl FollowError {
    fn log(error: impl ToString) -> Self {
        FollowError::Log(error.to_string())
    }

    fn store(error: impl ToString) -> Self {
        FollowError::Store(error.to_string())
    }
}

impl From<ReplicaError> for FollowError {
    fn from(error: ReplicaError) -> Self {
        FollowError::log(error)
    }
}

impl From<IndexError> for FollowError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Reopening => FollowError::log(error),
            error => FollowError::store(error),
        }
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
    // By now all accepted writes are applied, or the store has failed.
    let applied = index.applied()?;
    let stream = replica.0.connection.stream().await?;
    check_log(&stream, applied).await?;
    let mut next = applied.map_or(0, |applied| applied.position) + 1;
    let mut messages = messages_from(&stream, next).await?;
    let mut consumer_name = None;
    let mut pending = FuturesOrdered::new();
    let mut failure = None;
    // True while a change of generations is accepted and not applied: later messages wait.
    let mut changing_generations = false;
    loop {
        tokio::select! {
            Some((accepted, done)) = pending.next(), if !pending.is_empty() => {
                note_applied(replica, index, sync_models, &accepted, done).await?;
                changing_generations &= !accepted.changes_generations;
            }
            // All accepted writes are answered before the log is read again, so none is accepted
            // twice.
            () = std::future::ready(()), if failure.is_some() && pending.is_empty() => {
                return Err(failure.take().unwrap_or(FollowError::Log(String::new())));
            }
            () = sleep(STALL_TIMEOUT), if failure.is_none() && pending.is_empty() => {
                if replica.0.head.load(Ordering::Relaxed) >= next {
                    return Err(FollowError::log("no message came although the log is longer"));
                }
            }
            message = messages.next(), if failure.is_none() && !changing_generations && pending.len() < MAX_PENDING => {
                let received = match message {
                    Some(Ok(message)) => receive(replica, &message, next, &mut consumer_name),
                    Some(Err(error)) => Err(FollowError::log(error)),
                    None => Err(FollowError::log("the consumer ended")),
                };
                match received {
                    Ok(Some(received)) => {
                        let (accepted, done) = accept(replica, index, next, received).await?;
                        changing_generations |= accepted.changes_generations;
                        pending.push_back(async { (accepted, done.await.unwrap_or(Err(IndexError::Closed))) });
                        next += 1;
                    }
                    Ok(None) => {}
                    Err(error) => failure = Some(error),
                }
            }
        }
    }
}

/// Checks that the log continues the one that is applied here.
async fn check_log(stream: &Stream, applied: Option<LogPosition>) -> Result<(), FollowError> {
    let position = applied.map_or(0, |applied| applied.position);
    let state = &stream.cached_info().state;
    let (first, last) = (state.first_sequence, state.last_sequence);
    if first > position + 1 {
        return Err(FollowError::store(ReplicaError::LogTrimmed {
            first,
            position,
        }));
    }
    if last < position {
        // A server that has just become the leader may not know the end of the log yet. One that
        // lost it would give the same positions to other writes.
        return Err(FollowError::log(format!(
            "the log ends at {last}, and it is applied here up to {position} already"
        )));
    }
    if let Some(LogPosition { id: Some(id), .. }) = applied
        && first <= position
    {
        let there = stream.get_raw_message(position).await;
        let there = there.map_err(FollowError::log)?;
        if id_in(Some(&there.headers)) != Some(id) {
            return Err(FollowError::store(ReplicaError::LogDiverged { position }));
        }
    }
    Ok(())
}

/// Reads the messages of the log from a position on.
async fn messages_from(stream: &Stream, position: u64) -> Result<Ordered, FollowError> {
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: position,
        },
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await;
    let messages = consumer.map_err(FollowError::log)?.messages().await;
    messages.map_err(FollowError::log)
}

/// Gives a message to the index. The receiver gets the outcome when it is applied.
async fn accept(
    replica: &Replica,
    index: &Index,
    position: u64,
    Received { id, write }: Received,
) -> Result<(Accepted, oneshot::Receiver<Result<Outcome, IndexError>>), FollowError> {
    let accepted = Accepted {
        position,
        id,
        changes_generations: write.as_ref().is_some_and(Write::changes_generations),
        changes_layout: write.as_ref().is_some_and(Write::changes_layout),
    };
    let log_position = LogPosition { position, id };
    let done = match write {
        Some(write) => {
            index
                .apply(log_position, write, replica.is_own_write(id))
                .await?
        }
        None => index.skip_message(log_position).await?,
    };
    Ok((accepted, done))
}

/// Notes that a message is applied, and answers the caller that waits for it. A refused write
/// counts as applied, since every replica refuses it.
async fn note_applied(
    replica: &Replica,
    index: &Index,
    sync_models: &SyncModels,
    accepted: &Accepted,
    done: Result<Outcome, IndexError>,
) -> Result<(), FollowError> {
    let done = match done {
        Err(error) if !error.is_refusal() => return Err(error.into()),
        done => done,
    };
    if accepted.changes_generations && done.is_ok() {
        change_models(replica, sync_models).await;
    }
    if accepted.changes_layout && done.is_ok() {
        // The replica that took the request purges by itself; the others do here.
        let index = index.clone();
        tokio::spawn(async move { index.purge().await });
    }
    replica.0.applied.send_replace(accepted.position);
    replica.answer(accepted.id, done);
    Ok(())
}

/// Reads the next message. Returns none if it was received before.
fn receive(
    replica: &Replica,
    message: &jetstream::Message,
    next: u64,
    consumer_name: &mut Option<String>,
) -> Result<Option<Received>, FollowError> {
    let info = message.info().map_err(FollowError::log)?;
    // The client recreates a lost consumer by itself; the log may have changed in between.
    if consumer_name.get_or_insert_with(|| info.consumer.to_owned()) != info.consumer {
        return Err(FollowError::log("the consumer was recreated"));
    }
    let position = info.stream_sequence;
    replica.note_head(position + info.pending);
    if position < next {
        return Ok(None);
    }
    if position > next {
        return Err(FollowError::log(format!(
            "position {next} is missing before {position}"
        )));
    }
    let id = id_in(message.headers.as_ref());
    match message::decode(&message.payload) {
        Ok(write) => Ok(Some(Received {
            id,
            write: Some(write),
        })),
        Err(DecodeError::NotUnderstood(why)) => Err(FollowError::store(format!(
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
