//! Pictures of a data set, changed or as they are, made ready a few batches ahead of whoever works on them.
//! Knows items and pixels; neither networks nor what is learned.

use std::sync::mpsc::{SyncSender, sync_channel};

use ::image::RgbImage;

use super::data::{Item, pictures::on_all_cores};
use scihcgrl_image::ImageError;
use scihcgrl_image::Input;
use scihcgrl_image::Pixels;

/// Images a batch.
const BATCH: usize = 64;

/// What is done to the picture of a number before it becomes a network's input.
pub type Change<'a> = &'a (dyn Fn(usize, RgbImage) -> Result<RgbImage, ImageError> + Sync);

/// A batch: the pictures' numbers among the items, and their pixels.
pub struct Ready {
    /// Ascending.
    pub numbers: Vec<usize>,
    /// One each.
    pub pixels: Vec<Pixels>,
}

/// Leaves a picture as it is.
///
/// # Errors
/// None.
pub fn unchanged(_: usize, picture: RgbImage) -> Result<RgbImage, ImageError> {
    Ok(picture)
}

/// Hands batches of the items' pictures to `work`, in order. Pictures that cannot be read are logged and left out.
///
/// # Errors
/// The first of `work`.
pub fn each<E>(
    items: &[&Item],
    input: Input,
    change: Change<'_>,
    mut work: impl FnMut(Ready) -> Result<(), E>,
) -> Result<(), E> {
    let (ahead, batches) = sync_channel(2);
    std::thread::scope(|scope| {
        scope.spawn(move || prepare(items, input, change, &ahead));
        batches.into_iter().try_for_each(&mut work)
    })
}

fn prepare(items: &[&Item], input: Input, change: Change<'_>, ahead: &SyncSender<Ready>) {
    let numbers: Vec<usize> = (0..items.len()).collect();
    for numbers in numbers.chunks(BATCH) {
        let read = on_all_cores(numbers, |&number| {
            let picture = items[number].decode().map_err(|error| error.to_string())?;
            change(number, picture)
                .and_then(|picture| scihcgrl_image::resize(&picture, input))
                .map_err(|error| error.to_string())
        });
        let mut ready = Ready {
            numbers: Vec::new(),
            pixels: Vec::new(),
        };
        for (&number, read) in numbers.iter().zip(read) {
            match read {
                Ok(pixels) => {
                    ready.numbers.push(number);
                    ready.pixels.push(pixels);
                }
                Err(reason) => tracing::warn!(name = items[number].name, reason, "skipped"),
            }
        }
        // The receiver is gone only when the work failed, which is told there.
        if !ready.numbers.is_empty() && ahead.send(ready).is_err() {
            return;
        }
    }
}
