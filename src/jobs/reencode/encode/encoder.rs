//! A model that encodes on a thread of its own, which everything that answers goes before.
//! Knows images and codes; neither which images are encoded nor where their codes go.

use std::thread;

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use crate::{
    config::Compute,
    image::{self, Pixels},
    index::{Missing, Recoded},
    inference::registry::Entry,
    jobs::{context::Context, error::JobError},
    model::{Hasher, ModelError, Output},
    priority::Rank,
};

/// A batch that is to be encoded, and who waits for it.
struct Batch {
    images: Vec<Read>,
    answer: oneshot::Sender<Result<Vec<Coded>, ModelError>>,
}

/// An image with its codes, or why it has none.
pub type Coded = (Recoded, Option<String>);

/// A model on a thread of its own, which everything that answers goes before. The thread ends with the batch that it is at when this is
/// dropped.
pub struct Encoder {
    queue: Option<mpsc::UnboundedSender<Batch>>,
    thread: Option<Thread>,
}

/// A thread that is waited for when this is dropped: a process must not end while libtorch computes.
struct Thread(Option<thread::JoinHandle<()>>);

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that encodes panicked");
        }
    }
}

impl Encoder {
    pub async fn start(context: &Context, entry: &Entry) -> Result<Self, JobError> {
        let models = context.serving().models();
        let precision = models.active.precision;
        let all = context.serving().compute();
        let device = all.device.split(',').next().unwrap_or_default().trim();
        let compute = Compute {
            device: device.to_owned(),
            precision,
            threads: Some(1),
        };
        let (queue, batches) = mpsc::unbounded_channel();
        let (ready, started) = oneshot::channel();
        let path = entry.path.clone();
        let run = move || {
            Rank::Job.take();
            match Hasher::start(&path, &compute) {
                Ok(hasher) => {
                    if ready.send(Ok(())).is_ok() {
                        encode_all(&hasher, batches);
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let thread = thread::Builder::new()
            .name("reencode".to_owned())
            .spawn(run)
            .map_err(|source| JobError::Thread { source })?;
        let encoder = Encoder {
            queue: Some(queue),
            thread: Some(Thread(Some(thread))),
        };
        started.await.map_err(|_| JobError::Panicked)??;
        Ok(encoder)
    }

    pub async fn encode(&self, images: Vec<Read>) -> Result<Vec<Coded>, JobError> {
        let (answer, answered) = oneshot::channel();
        let batch = Batch { images, answer };
        let sent = self.queue.as_ref().map(|queue| queue.send(batch));
        if !matches!(sent, Some(Ok(()))) {
            return Err(JobError::Panicked);
        }
        Ok(answered.await.map_err(|_| JobError::Panicked)??)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.queue.take();
        let thread = self.thread.take();
        // A batch takes long at the lowest priority, and this may be a thread that serves. A runtime that ends drops what it is given, here.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(thread));
        }
    }
}

fn encode_all(hasher: &Hasher, mut batches: mpsc::UnboundedReceiver<Batch>) {
    while let Some(Batch { images, answer }) = batches.blocking_recv() {
        let _ = answer.send(encode(hasher, images));
    }
}

fn encode(hasher: &Hasher, images: Vec<Read>) -> Result<Vec<Coded>, ModelError> {
    let input = hasher.card().input();
    let decoded: Vec<(Missing, Result<Pixels, String>)> = images
        .into_iter()
        .map(|Read { missing, original }| {
            let decoded = original.and_then(|bytes| {
                let decoded = image::decode(&bytes, input);
                decoded
                    .map(|decoded| decoded.pixels)
                    .map_err(|error| error.to_string())
            });
            (missing, decoded)
        })
        .collect();
    let pixels: Vec<&Pixels> = decoded
        .iter()
        .filter_map(|(_, one)| one.as_ref().ok())
        .collect();
    let mut outputs = match pixels.is_empty() {
        true => Vec::new(),
        false => hasher.encode(&pixels)?,
    }
    .into_iter();
    let coded = decoded.into_iter().map(|(missing, decoded)| {
        let (Output { codes, sketch }, reason) = match decoded {
            Ok(_) => (outputs.next().unwrap_or_default(), None),
            Err(reason) => (Output::default(), Some(reason)),
        };
        let Missing { id, original, .. } = missing;
        (
            Recoded {
                id,
                original,
                codes,
                sketch,
            },
            reason,
        )
    });
    Ok(coded.collect())
}

/// What one image is, as far as it could be read.
pub(crate) struct Read {
    pub missing: Missing,
    pub original: Result<Bytes, String>,
}
