//! The thread that owns a model: forms a batch of what waits, runs it, answers each. An idle service answers at once, for nothing is
//! waited for; a busy one fills its batches by itself, for images come while a batch runs. Knows nothing of callers but that they wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::TryRecvError,
    },
    time::Instant,
};

use metrics::{counter, histogram};

use crate::{
    image::Pixels,
    inference::batch::{BatchConfig, BatchError, Encoded, Queue, Waiting, form},
    model::{Hasher, ModelError, Output},
    telemetry::{BATCH_IMAGES, DROPPED, INFERENCE_SECONDS, QUEUE_SECONDS},
};

/// Counts a worker until its thread ends, however it does.
pub(crate) struct Alive(Arc<AtomicUsize>);

impl Alive {
    pub(crate) fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Alive(count)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Works until the queue is closed and empty, or the device fails.
pub(crate) fn run(hasher: &Hasher, queue: &Queue, config: BatchConfig) {
    while let Some(batch) = next_batch(queue, config) {
        if batch.is_empty() {
            continue;
        }
        let pixels: Vec<_> = batch.iter().map(|item| &item.pixels).collect();
        histogram!(BATCH_IMAGES).record(pixels.len() as f64);
        let started = Instant::now();
        let mut codes = encode(hasher, &pixels);
        if batch.len() > 1 && codes.iter().all(Result::is_err) {
            // What one image did shall not cost its neighbours their codes.
            codes = pixels
                .iter()
                .flat_map(|one| encode(hasher, &[one]))
                .collect();
        }
        let failed = codes.iter().filter(|codes| codes.is_err()).count();
        answer(batch, codes, started);
        if failed > 0 {
            counter!(DROPPED, "reason" => "failed").increment(failed as u64);
            // A device that failed once for good fails at anything; the service has to say so to be replaced.
            if let Err(error) = hasher.warm_up(1) {
                tracing::error!(%error, "the device has failed");
                return;
            }
        }
    }
}

/// The next images to encode; none when no more will come.
fn next_batch(queue: &Queue, config: BatchConfig) -> Option<Vec<Waiting>> {
    // The worker that forms a batch holds the queue; the others run theirs, or wait behind it. It holds nothing that a panic breaks.
    let images = (queue.images.lock()).unwrap_or_else(|poisoned| poisoned.into_inner());
    let (first, busy) = match images.try_recv() {
        Ok(first) => (first, true),
        Err(TryRecvError::Empty) => (images.recv().ok()?, false),
        Err(TryRecvError::Disconnected) => return None,
    };
    let waits = busy && !config.max_delay.is_zero();
    // No more than its share of what is there, so that no other idles meanwhile.
    let share = queue.length.load(Ordering::Relaxed).div_ceil(queue.workers);
    let most = if waits { usize::MAX } else { share };
    let most = most.min(config.max_batch).max(1);
    let formed = Instant::now() + config.max_delay;
    let more = || match images.try_recv() {
        Err(TryRecvError::Empty) if waits => {
            let left = formed.saturating_duration_since(Instant::now());
            images.recv_timeout(left).ok()
        }
        more => more.ok(),
    };
    let wanted = |item| {
        queue.length.fetch_sub(1, Ordering::Relaxed);
        still_wanted(item)
    };
    Some(form::batch(first, more, wanted, most))
}

/// The image, unless nobody waits for it any more or it has waited too long.
fn still_wanted(item: Waiting) -> Option<Waiting> {
    if item.answer.is_closed() {
        counter!(DROPPED, "reason" => "disconnected").increment(1);
        return None;
    }
    match item.place.check() {
        Ok(()) => Some(item),
        Err(late) => {
            let _ = item.answer.send(Err(late));
            None
        }
    }
}

/// What is made of each, or the same error for each.
fn encode(hasher: &Hasher, pixels: &[&Pixels]) -> Vec<Result<Output, Arc<ModelError>>> {
    let started = Instant::now();
    let outputs = hasher.encode(pixels);
    histogram!(INFERENCE_SECONDS).record(started.elapsed());
    match outputs {
        Ok(outputs) => outputs.into_iter().map(Ok).collect(),
        Err(error) => {
            tracing::error!(%error, images = pixels.len(), "inference failed");
            let error = Arc::new(error);
            pixels.iter().map(|_| Err(error.clone())).collect()
        }
    }
}

fn answer(batch: Vec<Waiting>, outputs: Vec<Result<Output, Arc<ModelError>>>, started: Instant) {
    let inference = started.elapsed();
    for (item, output) in batch.into_iter().zip(outputs) {
        // Before the answer, so that whoever has it finds a place for the next image.
        drop(item.place);
        let queue = started.duration_since(item.queued);
        histogram!(QUEUE_SECONDS).record(queue);
        let encoded = output.map(|output| Encoded {
            output,
            queue,
            inference,
        });
        // A caller that hung up meanwhile is no fault.
        let answer = encoded.map_err(|source| BatchError::Inference { source });
        let _ = item.answer.send(answer);
    }
}
