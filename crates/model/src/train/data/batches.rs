//! Decodes the items of a data set in batches, a few batches before they are used, without keeping
//! them.

use std::sync::mpsc::{SyncSender, sync_channel};

use ::image::RgbImage;
use scihcgrl_image::{ImageError, Input, Pixels};

use crate::train::data::{collection::Item, parallel::on_all_cores};

/// Images per batch.
const BATCH_SIZE: usize = 64;

/// Changes the picture of an item with a given number, before it becomes a network's input.
pub type ChangeFn<'a> = &'a (dyn Fn(usize, RgbImage) -> Result<RgbImage, ImageError> + Sync);

/// A batch of decoded items.
pub struct DecodedBatch {
    /// Numbers of the items, ascending.
    pub numbers: Vec<usize>,
    /// The picture of each.
    pub pixels: Vec<Pixels>,
}

/// Returns a picture unchanged.
///
/// # Errors
/// None.
pub fn unchanged(_: usize, picture: RgbImage) -> Result<RgbImage, ImageError> {
    Ok(picture)
}

/// Calls `work` with batches of the items' pictures, in order. Pictures that cannot be read are
/// logged and left out.
///
/// # Errors
/// The first error of `work`.
pub fn for_each<E>(
    items: &[&Item],
    input: Input,
    change: ChangeFn<'_>,
    mut work: impl FnMut(DecodedBatch) -> Result<(), E>,
) -> Result<(), E> {
    let (ahead, batches) = sync_channel(2);
    std::thread::scope(|scope| {
        scope.spawn(move || decode_batches(items, input, change, &ahead));
        batches.into_iter().try_for_each(&mut work)
    })
}

fn decode_batches(
    items: &[&Item],
    input: Input,
    change: ChangeFn<'_>,
    ahead: &SyncSender<DecodedBatch>,
) {
    let numbers: Vec<usize> = (0..items.len()).collect();
    for numbers in numbers.chunks(BATCH_SIZE) {
        let read = on_all_cores(numbers, |&number| {
            let picture = items[number].decode().map_err(|error| error.to_string())?;
            change(number, picture)
                .and_then(|picture| scihcgrl_image::resize(&picture, input))
                .map_err(|error| error.to_string())
        });
        let mut ready = DecodedBatch {
            numbers: Vec::new(),
            pixels: Vec::new(),
        };
        for (&number, read) in numbers.iter().zip(read) {
            match read {
                Ok(pixels) => {
                    ready.numbers.push(number);
                    ready.pixels.push(pixels);
                }
                Err(reason) => tracing::warn!(
                    name = items[number].name,
                    reason,
                    "skipped an unreadable image"
                ),
            }
        }
        // The receiver is gone only if `work` has failed, which is reported there.
        if !ready.numbers.is_empty() && ahead.send(ready).is_err() {
            return;
        }
    }
}
