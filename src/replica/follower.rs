//! The log on its way into the index: message by message, in order, each once, however often the connection or the process ends in between.
//! Knows positions; neither what a write does nor who waits for it.

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
        Replica, ReplicaError, Turned,
        message::{self, Unread},
    },
};

/// How many writes may be on their way to the disk.
const AHEAD: usize = 2048;
/// How long after the log failed it is read again.
const AGAIN: Duration = Duration::from_millis(300);

/// How long nothing may come although the log is known to go on. A consumer that was forgotten while it was cut off does not notice it.
const STALLED: Duration = Duration::from_secs(2);

/// Why following ends for now.
enum Broken {
    /// The log cannot be read just now.
    Log(String),
    /// The store here cannot go on: it must not pass over what others applied.
    Store(String),
}

/// A message of the log.
struct Taken {
    id: Option<Uuid>,
    /// None if it is broken.
    write: Option<Write>,
}

impl From<ReplicaError> for Broken {
    fn from(error: ReplicaError) -> Self {
        Broken::Log(error.to_string())
    }
}

/// Applies the log until the index accepts no more.
pub(crate) async fn follow(replica: &Replica, index: &Index, turned: &Turned) {
    // It may have been killed after a change of generations was stored and before the models were changed.
    turn(replica, turned).await;
    loop {
        match apply(replica, index, turned).await {
            Broken::Log(reason) => {
                tracing::warn!(reason, "the log cannot be read");
                sleep(AGAIN).await;
            }
            Broken::Store(reason) => {
                tracing::error!(
                    reason,
                    "this replica cannot go on; it takes up where it was when it is started again"
                );
                replica.0.failed.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Has the models changed as the generations are, however often it takes.
async fn turn(replica: &Replica, turned: &Turned) {
    replica.0.generation_epoch.fetch_add(1, Ordering::AcqRel);
    while !turned().await {
        sleep(AGAIN).await;
    }
    replica.0.generation_epoch.fetch_add(1, Ordering::AcqRel);
}

async fn apply(replica: &Replica, index: &Index, turned: &Turned) -> Broken {
    match try_apply(replica, index, turned).await {
        Ok(never) => match never {},
        Err(broken) => broken,
    }
}

async fn try_apply(
    replica: &Replica,
    index: &Index,
    turned: &Turned,
) -> Result<std::convert::Infallible, Broken> {
    let store = |error: IndexError| match error {
        IndexError::Reopening => Broken::Log(error.to_string()),
        error => Broken::Store(error.to_string()),
    };
    // What was accepted before is applied, or the store has failed.
    let applied = index.applied().map_err(store)?;
    let position = applied.map_or(0, |applied| applied.position);
    let stream = replica.0.place.stream().await?;
    let state = &stream.cached_info().state;
    let (first, last) = (state.first_sequence, state.last_sequence);
    if first > position + 1 {
        let gone = ReplicaError::Gone { first, position };
        return Err(Broken::Store(gone.to_string()));
    }
    if last < position {
        // A server that has just begun to lead may not know all of it yet. One that lost some would give its positions to other writes.
        let ends = format!("it ends at {last}, and {position} of it are applied here");
        return Err(Broken::Log(ends));
    }
    if let Some(LogPosition { id: Some(id), .. }) = applied
        && first <= position
    {
        let there = stream.get_raw_message(position).await;
        let there = there.map_err(|error| Broken::Log(error.to_string()))?;
        if id_in(Some(&there.headers)) != Some(id) {
            return Err(Broken::Store(ReplicaError::Other { position }.to_string()));
        }
    }
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: position + 1,
        },
        ..OrderedConfig::default()
    };
    let log = |error: &dyn std::fmt::Display| Broken::Log(error.to_string());
    let consumer = stream.create_consumer(config).await;
    let messages = consumer.map_err(|error| log(&error))?.messages().await;
    let mut messages = messages.map_err(|error| log(&error))?;
    let mut next = position + 1;
    let mut pending = FuturesOrdered::new();
    let mut by = None;
    let mut broken = None;
    // A change of generations is accepted and not done: what comes after it waits.
    let mut turning = false;
    loop {
        tokio::select! {
            Some((position, id, changes_generations, done)) = pending.next(), if !pending.is_empty() => {
                let done: Result<_, IndexError> = done;
                match done {
                    Err(error) if !is_of_the_write(&error) => return Err(store(error)),
                    done => {
                        if changes_generations && done.is_ok() {
                            turn(replica, turned).await;
                            // Only the replica that was asked does so by itself.
                            let index = index.clone();
                            tokio::spawn(async move { index.purge().await });
                        }
                        turning &= !changes_generations;
                        replica.0.applied.send_replace(position);
                        replica.answer(id, done);
                    }
                }
            }
            // All that was accepted is answered before it is begun again, so that nothing is accepted twice.
            _ = std::future::ready(()), if broken.is_some() && pending.is_empty() => {
                return Err(broken.take().unwrap_or(Broken::Log(String::new())));
            }
            () = sleep(STALLED), if broken.is_none() && pending.is_empty() => {
                if replica.0.head.load(Ordering::Relaxed) >= next {
                    return Err(Broken::Log("nothing comes of it".to_owned()));
                }
            }
            message = messages.next(), if broken.is_none() && !turning && pending.len() < AHEAD => match message {
                Some(Ok(message)) => match take(replica, &message, next, &mut by) {
                    Ok(Some(Taken { id, write })) => {
                        let changes_generations = write.as_ref().is_some_and(Write::changes_generations);
                        turning |= changes_generations;
                        let at = LogPosition { position: next, id };
                        let accepted = match write {
                            Some(write) => index.apply(at, write, replica.is_own(id)).await,
                            None => index.pass_over(at).await,
                        };
                        let done = accepted.map_err(store)?;
                        let position = next;
                        pending.push_back(async move {
                            (position, id, changes_generations, done.await.unwrap_or(Err(IndexError::Closed)))
                        });
                        next += 1;
                    }
                    Ok(None) => {}
                    Err(error) => broken = Some(error),
                },
                Some(Err(error)) => broken = Some(log(&error)),
                None => broken = Some(Broken::Log("it ended".to_owned())),
            },
        }
    }
}

/// What a message is, if it is the next one; none of one that was taken before.
fn take(
    replica: &Replica,
    message: &jetstream::Message,
    next: u64,
    by: &mut Option<String>,
) -> Result<Option<Taken>, Broken> {
    let info = message
        .info()
        .map_err(|error| Broken::Log(error.to_string()))?;
    // A consumer that was lost is made anew unasked; by then the log may be another.
    if by.get_or_insert_with(|| info.consumer.to_owned()) != info.consumer {
        return Err(Broken::Log("its consumer is another".to_owned()));
    }
    let position = info.stream_sequence;
    replica.heard(position + info.pending);
    if position < next {
        return Ok(None);
    }
    if position > next {
        return Err(Broken::Log(format!("{next} is missing before {position}")));
    }
    let id = id_in(message.headers.as_ref());
    match message::decode(&message.payload) {
        Ok(write) => Ok(Some(Taken {
            id,
            write: Some(write),
        })),
        Err(Unread::NotUnderstood(why)) => Err(Broken::Store(format!(
            "the message at {position} is not understood: {why}; a newer program wrote it"
        ))),
        Err(Unread::Broken) => {
            tracing::error!(
                position,
                "a message of the log is broken, so that no program can read it; it is passed over"
            );
            replica.0.passed_over.store(true, Ordering::Relaxed);
            Ok(Some(Taken { id, write: None }))
        }
    }
}

fn id_in(headers: Option<&HeaderMap>) -> Option<Uuid> {
    let id = headers?.get(NATS_MESSAGE_ID)?;
    Uuid::try_parse(id.as_str()).ok()
}

/// Whether a failure is that of the write itself, which then fails in every store; any other leaves this store behind the others.
fn is_of_the_write(error: &IndexError) -> bool {
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
