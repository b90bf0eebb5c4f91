//! A model that encodes images for jobs, on a separate thread at the lowest priority.

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
    priority::Priority,
};

/// A batch to encode, and the caller that waits for it.
struct Batch {
    images: Vec<FetchedImage>,
    answer: oneshot::Sender<Result<Vec<EncodedImage>, ModelError>>,
}

/// An image with its codes, or with empty codes and the reason for that.
pub type EncodedImage = (Recoded, Option<String>);

/// A handle on the thread. When it is dropped, the thread ends after its current batch.
pub struct EncoderThread {
    queue: Option<mpsc::UnboundedSender<Batch>>,
    thread: Option<JoinOnDrop>,
}

/// Joins a thread when dropped: the process must not end while libtorch computes.
struct JoinOnDrop(Option<thread::JoinHandle<()>>);

impl Drop for JoinOnDrop {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the encoder thread of a job panicked");
        }
    }
}

impl EncoderThread {
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
            Priority::Job.apply();
            match Hasher::load_with(&path, &compute) {
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
        let encoder = EncoderThread {
            queue: Some(queue),
            thread: Some(JoinOnDrop(Some(thread))),
        };
        started.await.map_err(|_| JobError::Panicked)??;
        Ok(encoder)
    }

    pub async fn encode(&self, images: Vec<FetchedImage>) -> Result<Vec<EncodedImage>, JobError> {
        let (answer, answered) = oneshot::channel();
        let batch = Batch { images, answer };
        let sent = self.queue.as_ref().map(|queue| queue.send(batch));
        if !matches!(sent, Some(Ok(()))) {
            return Err(JobError::Panicked);
        }
        Ok(answered.await.map_err(|_| JobError::Panicked)??)
    }
}

impl Drop for EncoderThread {
    fn drop(&mut self) {
        self.queue.take();
        let thread = self.thread.take();
        // Joining may take long, since the thread has the lowest priority, and this may be a thread
        // that serves requests. A runtime that shuts down drops the closure at once, on this
        // thread.
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

fn encode(hasher: &Hasher, images: Vec<FetchedImage>) -> Result<Vec<EncodedImage>, ModelError> {
    let input = hasher.card().input();
    let decoded: Vec<(Missing, Result<Pixels, String>)> = images
        .into_iter()
        .map(|FetchedImage { missing, original }| {
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
    let mut outputs = if pixels.is_empty() {
        Vec::new()
    } else {
        hasher.encode(&pixels)?
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

/// An image to encode, with its original or the reason why that is unreadable.
pub(crate) struct FetchedImage {
    pub missing: Missing,
    pub original: Result<Bytes, String>,
}
