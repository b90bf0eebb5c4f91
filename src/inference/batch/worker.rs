//! The thread that owns a model: it forms a batch of the waiting images, encodes the batch, and
//! answers each image. An idle service answers at once, because a batch does not wait for more
//! images. A busy service fills its batches, because images arrive while a batch runs.

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
    inference::batch::{BatchConfig, BatchError, Encoded, QueuedImage, SharedQueue},
    model::{Hasher, ModelError, Output},
    telemetry::{BATCH_IMAGES, IMAGES_DROPPED, INFERENCE_SECONDS, QUEUE_SECONDS},
};

/// Counts a worker until its thread ends, even by a panic.
pub(crate) struct LiveWorker(Arc<AtomicUsize>);

impl LiveWorker {
    pub(crate) fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        LiveWorker(count)
    }
}

impl Drop for LiveWorker {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs until the queue is closed and empty, or the device fails.
pub(crate) fn run(hasher: &Hasher, queue: &SharedQueue, config: BatchConfig) {
    while let Some(batch) = next_batch(queue, config) {
        if batch.is_empty() {
            continue;
        }
        let pixels: Vec<_> = batch.iter().map(|item| &item.pixels).collect();
        histogram!(BATCH_IMAGES).record(pixels.len() as f64);
        let started = Instant::now();
        let mut codes = encode(hasher, &pixels);
        if batch.len() > 1 && codes.iter().all(Result::is_err) {
            // One bad image must not cost its neighbours their codes.
            codes = pixels
                .iter()
                .flat_map(|one| encode(hasher, &[one]))
                .collect();
        }
        let failed = codes.iter().filter(|codes| codes.is_err()).count();
        answer(batch, codes, started);
        if failed > 0 {
            counter!(IMAGES_DROPPED, "reason" => "failed").increment(failed as u64);
            // A device that has failed permanently fails with any input. The service must report
            // that, so that it is replaced.
            if let Err(error) = hasher.warm_up(1) {
                tracing::error!(%error, "the device has failed");
                return;
            }
        }
    }
}

/// Returns the next images to encode. Returns none if the queue is closed and empty.
fn next_batch(queue: &SharedQueue, config: BatchConfig) -> Option<Vec<QueuedImage>> {
    // The worker that forms a batch holds the queue. The others encode their batches or wait for
    // the queue. A panic cannot leave the queue in a broken state.
    let images = queue.images.lock();
    let (first, busy) = match images.try_recv() {
        Ok(first) => (first, true),
        Err(TryRecvError::Empty) => (images.recv().ok()?, false),
        Err(TryRecvError::Disconnected) => return None,
    };
    let waits = busy && !config.max_delay.is_zero();
    // Takes no more than this worker's share, so that no other worker is idle.
    let share = queue.length.load(Ordering::Relaxed).div_ceil(queue.workers);
    let limit = if waits { usize::MAX } else { share };
    let limit = limit.min(config.max_batch).max(1);
    let formed = Instant::now() + config.max_delay;
    let more = || match images.try_recv() {
        Err(TryRecvError::Empty) if waits => {
            let left = formed.saturating_duration_since(Instant::now());
            images.recv_timeout(left).ok()
        }
        more => more.ok(),
    };
    let keep = |item| {
        queue.length.fetch_sub(1, Ordering::Relaxed);
        keep_if_wanted(item)
    };
    Some(form_batch(first, more, keep, limit))
}

/// Takes items in order, until `limit` of them are kept or none are left.
fn form_batch<T>(
    first: T,
    mut next: impl FnMut() -> Option<T>,
    mut keep: impl FnMut(T) -> Option<T>,
    limit: usize,
) -> Vec<T> {
    let mut batch = Vec::new();
    let mut item = Some(first);
    while let Some(taken) = item {
        batch.extend(keep(taken));
        item = if batch.len() < limit { next() } else { None };
    }
    batch
}

/// Returns the image, unless its caller is gone or it has waited too long.
fn keep_if_wanted(item: QueuedImage) -> Option<QueuedImage> {
    if item.answer.is_closed() {
        counter!(IMAGES_DROPPED, "reason" => "disconnected").increment(1);
        return None;
    }
    match item.slot.check() {
        Ok(()) => Some(item),
        Err(late) => {
            let _ = item.answer.send(Err(late));
            None
        }
    }
}

/// Encodes images together. If that fails, every image gets the error.
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

fn answer(
    batch: Vec<QueuedImage>,
    outputs: Vec<Result<Output, Arc<ModelError>>>,
    started: Instant,
) {
    let inference = started.elapsed();
    for (item, output) in batch.into_iter().zip(outputs) {
        // Before the answer, so that a caller that has it finds a slot free for the next image.
        drop(item.slot);
        let queue = started.duration_since(item.queued);
        histogram!(QUEUE_SECONDS).record(queue);
        let encoded = output.map(|output| Encoded {
            output,
            queue,
            inference,
        });
        // Sending fails if the caller has hung up, which is no error.
        let answer = encoded.map_err(|source| BatchError::Inference { source });
        let _ = item.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::form_batch;

    #[test]
    fn a_batch_has_the_kept_items_up_to_its_limit() {
        let odd = |i: &i32| i % 2 == 1;
        let mut queue = 2..10;
        let taken = form_batch(1, || queue.next(), |i| Some(i).filter(odd), 3);
        assert_eq!(taken, [1, 3, 5]);
        assert_eq!(queue.next(), Some(6));
        assert_eq!(form_batch(0, || None, |i| Some(i).filter(odd), 3), [0; 0]);
    }
}
