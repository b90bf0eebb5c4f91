//! Codes of a data set's items by a finished model, decoded a few batches ahead of it.
//! Knows items and models; not what the codes are compared for.

use std::sync::mpsc::{SyncSender, sync_channel};

use super::data::Item;
use crate::{
    code::HashCode,
    image::{self, Input, Pixels},
    model::{Hasher, ModelError},
};

/// Images a forward pass.
const BATCH: usize = 64;

/// An item's place in the order read, and its pixels.
type Picture = (usize, Pixels);
/// The number of an item's set of classes, and its codes by length.
pub type Coded = (usize, Vec<HashCode>);

/// The set of classes and the codes of every item that can be read, in order; those that cannot are logged.
///
/// # Errors
/// [`ModelError`].
pub fn encode(hasher: &Hasher, items: &[&Item]) -> Result<Vec<Coded>, ModelError> {
    let input = hasher.card().input();
    // Decoding runs a few batches ahead of the model.
    let (ahead, batches) = sync_channel(2);
    std::thread::scope(|scope| {
        scope.spawn(move || decode(items, input, &ahead));
        let mut coded = Vec::with_capacity(items.len());
        for batch in batches {
            let pixels: Vec<&Pixels> = batch.iter().map(|(_, pixels)| pixels).collect();
            let outputs = hasher.encode(&pixels)?;
            let codes = outputs.into_iter().map(|output| output.codes);
            let sets = batch.iter().map(|(place, _)| items[*place].set);
            coded.extend(sets.zip(codes));
        }
        Ok(coded)
    })
}

fn decode(items: &[&Item], input: Input, ahead: &SyncSender<Vec<Picture>>) {
    let mut batch = Vec::with_capacity(BATCH);
    for (place, item) in items.iter().enumerate() {
        let read = item.decode().map_err(|error| error.to_string());
        let read = read
            .and_then(|picture| image::resize(&picture, input).map_err(|error| error.to_string()));
        match read {
            Ok(pixels) => batch.push((place, pixels)),
            Err(reason) => tracing::warn!(name = item.name, reason, "skipped"),
        }
        // The receiver is gone only when inference failed, which is told there.
        if batch.len() == BATCH && ahead.send(std::mem::take(&mut batch)).is_err() {
            return;
        }
    }
    if !batch.is_empty() {
        let _ = ahead.send(batch);
    }
}
