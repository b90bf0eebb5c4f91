//! Re-encoding: every original gets codes of a model in the generation beside, which then takes the active one's place.
//! Knows in which order, and what becomes of an image whose original is gone; neither how a model computes nor how an index turns.

use std::{
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::{
    config::Compute,
    image::{self, Pixels},
    index::{IndexError, Missing, Recoded},
    model::{Hasher, ModelError},
    priority::Rank,
    registry::Entry,
    serving::ServingError,
};

use super::{Context, JobError, Progress, TOLD};

/// Images that are encoded and written together.
const BATCH: usize = 16;
/// Originals that are fetched at a time.
const FETCHES: usize = 4;
/// How long searches may keep a batch waiting.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);
/// The most images without codes that a job lists.
const LISTED: usize = 1000;

/// An image that gets no codes, and why.
#[derive(Serialize)]
struct LeftOut {
    id: String,
    reason: String,
}

/// What one image is, as far as it could be read.
struct Read {
    missing: Missing,
    original: Result<Bytes, String>,
}

/// Encodes with a model whatever lacks its codes and activates it. One that is active already has nothing to do.
pub(super) async fn run(context: &Context, model: &str) -> Result<Value, JobError> {
    let (serving, gallery) = (context.serving(), context.gallery());
    if serving.models().active.id == model {
        return Ok(json!({ "model": model, "images": 0, "left_out": [] }));
    }
    let started = Instant::now();
    let (entry, number) = serving.begin(model).await?;
    let done = turn(context, &entry, number).await;
    match done {
        Ok(mut result) => {
            result["model"] = json!(model);
            result["seconds"] = json!(started.elapsed().as_secs_f64());
            result["left_out_in_all"] = json!(gallery.index().facts().left_out);
            Ok(result)
        }
        Err(JobError::Cancelled) => {
            serving.discard().await?;
            Err(JobError::Cancelled)
        }
        Err(error) => Err(error),
    }
}

async fn turn(context: &Context, entry: &Entry, number: u32) -> Result<Value, JobError> {
    let (serving, index) = (context.serving(), context.gallery().index());
    let mut encoder = None;
    let (mut left_out, mut images) = (Vec::new(), 0u64);
    let (started, mut told) = (Instant::now(), None::<Instant>);
    loop {
        // What was written while its writer did not know of this generation yet comes in a second round.
        let before = images;
        let mut from = Some(0);
        while let Some(page) = from {
            context.check()?;
            let (missing, next) = {
                let index = index.clone();
                let look = move || index.missing(number, page, BATCH);
                tokio::task::spawn_blocking(look)
                    .await
                    .map_err(|_| JobError::Panicked)??
            };
            from = next;
            for batch in missing.chunks(BATCH) {
                context.check()?;
                let encoder = match &encoder {
                    Some(encoder) => encoder,
                    None => encoder.insert(Encoder::start(context, entry).await?),
                };
                let read = fetch(context, batch).await?;
                give_way(context).await;
                let recoded = encoder.encode(read).await?;
                images += recoded.len() as u64;
                left_out.extend(recoded.iter().filter_map(|one| {
                    one.1.as_ref().map(|reason| LeftOut {
                        id: one.0.id.to_string(),
                        reason: reason.clone(),
                    })
                }));
                let recoded = recoded.into_iter().map(|(recoded, _)| recoded).collect();
                index.recode(number, recoded).await?;
                if told.is_none_or(|told| told.elapsed() >= TOLD) {
                    told = Some(Instant::now());
                    let now = index.generations();
                    let pace = started.elapsed().as_secs_f64() / images as f64;
                    let progress = Progress {
                        stage: "encode".to_owned(),
                        step: now.images - now.missing,
                        steps: now.images,
                        eta_seconds: Some((pace * now.missing as f64).ceil() as u64),
                        ..Progress::default()
                    };
                    let per_second = (1.0 / pace * 10.0).round() / 10.0;
                    context.progress(&progress, json!({ "images_per_second": per_second }))?;
                }
            }
        }
        context.check()?;
        match serving.activate(number).await {
            Err(ServingError::Index {
                source: IndexError::Unfinished { .. },
            }) if images > before => continue,
            done => done?,
        }
        let count = left_out.len();
        left_out.truncate(LISTED);
        return Ok(json!({
            "generation": number, "images": images, "left_out_count": count, "left_out": left_out,
        }));
    }
}

/// Fetches originals; one that is gone or not whole is told by its reason.
async fn fetch(context: &Context, batch: &[Missing]) -> Result<Vec<Read>, JobError> {
    let each = batch.iter().cloned().map(|missing| async move {
        let original = context.original(&missing.id, missing.original, missing.bytes);
        let original = original.await?;
        Ok(Read { missing, original })
    });
    let read: Vec<Result<Read, JobError>> = stream::iter(each).buffered(FETCHES).collect().await;
    read.into_iter().collect()
}

/// Waits while searches do, but not for ever.
async fn give_way(context: &Context) {
    let since = Instant::now();
    while context.serving().models().active.batcher.waiting() > 0 && since.elapsed() < PATIENCE {
        tokio::time::sleep(PAUSE).await;
    }
}

/// A batch that is to be encoded, and who waits for it.
struct Batch {
    images: Vec<Read>,
    answer: oneshot::Sender<Result<Vec<Coded>, ModelError>>,
}

/// An image with its codes, or why it has none.
type Coded = (Recoded, Option<String>);

/// A model on a thread of its own, which everything that answers goes before. When it is dropped the thread has ended.
struct Encoder {
    queue: Option<mpsc::UnboundedSender<Batch>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Encoder {
    async fn start(context: &Context, entry: &Entry) -> Result<Self, JobError> {
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
            thread: Some(thread),
        };
        started.await.map_err(|_| JobError::Panicked)??;
        Ok(encoder)
    }

    async fn encode(&self, images: Vec<Read>) -> Result<Vec<Coded>, JobError> {
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
        // A process must not end while libtorch computes.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that encodes panicked");
        }
    }
}

fn encode_all(hasher: &Hasher, mut batches: mpsc::UnboundedReceiver<Batch>) {
    while let Some(Batch { images, answer }) = batches.blocking_recv() {
        let _ = answer.send(encode(hasher, images));
    }
}

fn encode(hasher: &Hasher, images: Vec<Read>) -> Result<Vec<Coded>, ModelError> {
    let side = hasher.card().input_size;
    let decoded: Vec<(Missing, Result<Pixels, String>)> = images
        .into_iter()
        .map(|Read { missing, original }| {
            let decoded = original.and_then(|bytes| {
                let decoded = image::decode(&bytes, side);
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
    let mut codes = match pixels.is_empty() {
        true => Vec::new(),
        false => hasher.encode(&pixels)?,
    }
    .into_iter();
    let coded = decoded.into_iter().map(|(missing, decoded)| {
        let (codes, reason) = match decoded {
            Ok(_) => (codes.next().unwrap_or_default(), None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let Missing { id, original, .. } = missing;
        (
            Recoded {
                id,
                original,
                codes,
            },
            reason,
        )
    });
    Ok(coded.collect())
}
