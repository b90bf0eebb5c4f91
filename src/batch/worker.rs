//! The thread that owns the model: forms a batch of what waits, runs it, answers each. Takes what is there and never waits for
//! more, so an idle service answers at once and a busy one fills its batches by itself.

use std::time::Instant;

use tokio::sync::mpsc;

use super::{BatchError, Encoded, Waiting, form};
use crate::{
    image::Pixels,
    model::{Hasher, ModelError},
};

/// One pass over a black picture.
pub(super) fn warm_up(hasher: &Hasher) -> Result<(), ModelError> {
    let size = hasher.card().input_size;
    let rgb = vec![0; (size * size * 3) as usize];
    hasher.encode(&[&Pixels { size, rgb }]).map(drop)
}

pub(super) fn run(hasher: &Hasher, mut queue: mpsc::Receiver<Waiting>, most: usize) {
    while let Some(first) = queue.blocking_recv() {
        let batch = form::batch(
            first,
            || queue.try_recv().ok(),
            |item| !item.answer.is_closed(),
            most,
        );
        if batch.is_empty() {
            continue;
        }
        let started = Instant::now();
        let pixels: Vec<_> = batch.iter().map(|item| &item.pixels).collect();
        let codes = hasher.encode(&pixels);
        let inference = started.elapsed();
        match codes {
            Ok(codes) => {
                for (item, codes) in batch.into_iter().zip(codes) {
                    let queue = started.duration_since(item.since);
                    // A caller that hung up meanwhile is no fault.
                    let _ = item.answer.send(Ok(Encoded {
                        codes,
                        queue,
                        inference,
                    }));
                }
            }
            Err(error) => {
                tracing::error!(%error, images = batch.len(), "inference failed");
                for item in batch {
                    let _ = item.answer.send(Err(BatchError::from(&error)));
                }
            }
        }
    }
}
