//! Makes batches in advance on separate threads, uploads them to a GPU on another thread, and
//! measures how long the caller still waited. The threads that make pictures compute in plain Rust,
//! because a second thread in libtorch would make OpenMP keep more threads than there are cores.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::{Scope, available_parallelism, scope},
    time::{Duration, Instant},
    vec,
};

use tch::{Device, Kind, Tensor};

use crate::{
    error::ModelError,
    train::data::{augment::Augment, pictures::Pictures},
};

/// The number of batches that each thread prepares and uploads in advance.
const READY_BATCHES: usize = 2;

/// The batches to make.
#[derive(Clone)]
pub struct BatchPlan<'a> {
    /// The pictures that batches are drawn from.
    pub pictures: &'a Pictures,
    /// Seed and picture numbers of each batch, in order. Batches with the same seed are changed in
    /// the same way.
    pub batches: Vec<(u64, &'a [usize])>,
    /// Side of the images, in pixels.
    pub side: u32,
    /// Random changes, if any.
    pub augment: Option<Augment>,
}

impl<'a> BatchPlan<'a> {
    /// Plans batches of `size` pictures without changes.
    pub fn unchanged(pictures: &'a Pictures, numbers: &'a [usize], size: usize, side: u32) -> Self {
        BatchPlan {
            pictures,
            batches: numbers.chunks(size).map(|batch| (0, batch)).collect(),
            side,
            augment: None,
        }
    }
}

/// A batch on the device.
pub struct ImageBatch<'a> {
    /// Numbers of the pictures.
    pub numbers: &'a [usize],
    /// The same numbers on the device: `[batch]`, `Int64`.
    pub indices: Tensor,
    /// `[batch, 3, side, side]` in 0…255, `Uint8`.
    pub images: Tensor,
}

/// A batch's numbers and its bytes, `[batch, 3, side, side]`.
type RawBatch<'a> = (&'a [usize], Vec<u8>);

/// An iterator over batches in the order of the plan.
pub struct Prefetch<'a> {
    source: BatchSource<'a>,
    waited: Duration,
}

/// The source of batches.
enum BatchSource<'a> {
    /// The makers' bytes, which [`Iterator::next`] turns into tensors.
    Makers(Makers<'a>, u32),
    /// The thread that uploads to a GPU.
    Uploader(Receiver<Result<ImageBatch<'a>, ModelError>>),
}

/// Receivers of the threads that each make a part of every batch, in the order of the parts.
struct Makers<'a> {
    parts: Vec<Receiver<Vec<u8>>>,
    left: vec::IntoIter<(u64, &'a [usize])>,
}

impl<'a> Iterator for Makers<'a> {
    type Item = RawBatch<'a>;

    fn next(&mut self) -> Option<RawBatch<'a>> {
        let (_, numbers) = self.left.next()?;
        let parts = self.parts.iter().map(Receiver::recv);
        // A thread ends early only by a panic, which its scope passes on.
        let parts: Vec<_> = parts.collect::<Result<_, _>>().ok()?;
        Some((numbers, parts.concat()))
    }
}

impl<'a> Prefetch<'a> {
    /// Starts `threads` threads, at least one. Each makes a part of every batch, so that the first
    /// batch is complete soon. They end with the plan, or soon after this is dropped. For a GPU,
    /// another thread uploads while the device computes.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        plan: BatchPlan<'a>,
        threads: usize,
        device: Device,
    ) -> Self {
        Prefetch::start_with(scope, plan, threads, device, device != Device::Cpu)
    }

    /// As [`start`](Self::start), with or without an uploading thread.
    fn start_with<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        plan: BatchPlan<'a>,
        threads: usize,
        device: Device,
        uploads: bool,
    ) -> Self {
        let (side, threads) = (plan.side, threads.max(1));
        let parts = (0..threads).map(|thread| {
            let (ready, part) = sync_channel(READY_BATCHES);
            let plan = plan.clone();
            scope.spawn(move || {
                for &(seed, numbers) in &plan.batches {
                    let start = |thread: usize| thread * numbers.len() / threads;
                    let part = start(thread)..start(thread + 1);
                    let bytes = plan
                        .pictures
                        .batch_bytes(numbers, part, side, plan.augment, seed);
                    // The receiver is gone only if training has failed, which is reported there.
                    if ready.send(bytes).is_err() {
                        return;
                    }
                }
            });
            part
        });
        let makers = Makers {
            parts: parts.collect(),
            left: plan.batches.into_iter(),
        };
        let source = if uploads {
            let (ready, uploaded) = sync_channel(READY_BATCHES);
            scope.spawn(move || {
                for (numbers, bytes) in makers {
                    if ready.send(batch(numbers, &bytes, side, device)).is_err() {
                        return;
                    }
                }
            });
            BatchSource::Uploader(uploaded)
        } else {
            BatchSource::Makers(makers, side)
        };
        Prefetch {
            source,
            waited: Duration::ZERO,
        }
    }

    /// Returns how long [`Iterator::next`] has waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<'a> Iterator for Prefetch<'a> {
    type Item = Result<ImageBatch<'a>, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        let started = Instant::now();
        match &mut self.source {
            BatchSource::Makers(makers, side) => {
                let made = makers.next();
                self.waited += started.elapsed();
                made.map(|(numbers, bytes)| batch(numbers, &bytes, *side, Device::Cpu))
            }
            BatchSource::Uploader(uploaded) => {
                let batch = uploaded.recv();
                self.waited += started.elapsed();
                batch.ok()
            }
        }
    }
}

/// Calls `make` for each batch of a plan, in order, on a device, and returns the results.
///
/// # Errors
/// The first error of `make`, and [`ModelError::Tensor`].
pub fn map_batches<R>(
    plan: BatchPlan<'_>,
    device: Device,
    mut make: impl FnMut(ImageBatch<'_>) -> Result<R, ModelError>,
) -> Result<Vec<R>, ModelError> {
    scope(|scope| {
        let prefetch = Prefetch::start(scope, plan, maker_threads(device), device);
        prefetch.map(|batch| make(batch?)).collect()
    })
}

/// Returns the number of threads that make pictures. For a GPU, it is the number of cores minus
/// two, which are left to the threads that compute and upload. On a CPU, it is one, next to
/// libtorch's threads.
pub fn maker_threads(device: Device) -> usize {
    match device {
        Device::Cpu => 1,
        _ => available_parallelism().map_or(1, |cores| cores.get().saturating_sub(2).max(1)),
    }
}

/// Moves a batch to a device. From pinned memory the copy is asynchronous and in stream order, so
/// no thread waits for it.
fn batch<'a>(
    numbers: &'a [usize],
    bytes: &[u8],
    side: u32,
    device: Device,
) -> Result<ImageBatch<'a>, ModelError> {
    let (count, side) = (numbers.len() as i64, i64::from(side));
    let indices: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
    let indices = Tensor::f_from_slice(&indices)?;
    let images = Tensor::f_from_data_size(bytes, &[count, 3, side, side], Kind::Uint8)?;
    let there = |tensor: Tensor| match device {
        Device::Cpu => Ok(tensor),
        _ => tensor
            .f_internal_pin_memory(device)?
            .f_to_device_(device, tensor.kind(), true, false),
    };
    Ok(ImageBatch {
        numbers,
        indices: there(indices)?,
        images: there(images)?,
    })
}

/// Images per forward pass that computes only features.
pub const FEATURE_BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::data::{open::open, samples};

    #[test]
    fn prefetched_batches_equal_batches_made_at_once() {
        let folder = tempfile::tempdir().unwrap();
        samples::tree(folder.path());
        let pictures = Pictures::read(
            &open(folder.path()).unwrap(),
            None,
            scihcgrl_image::Input::stretched(8),
            None,
            0,
        )
        .unwrap();
        let augment = Some(Augment::new(0.5));
        let order = [3, 1, 4, 1, 5, 2, 6];
        let plan = BatchPlan {
            pictures: &pictures,
            batches: (9..).zip(order.chunks(2)).collect(),
            side: 16,
            augment,
        };
        for (threads, uploads) in [(0, false), (1, true), (2, false), (3, true), (8, false)] {
            std::thread::scope(|scope| {
                let start =
                    || Prefetch::start_with(scope, plan.clone(), threads, Device::Cpu, uploads);
                let mut prefetch = start();
                for &(seed, numbers) in &plan.batches {
                    let found = prefetch.next().unwrap().unwrap();
                    let expected =
                        pictures.batch_bytes(numbers, 0..numbers.len(), 16, augment, seed);
                    assert_eq!(found.numbers, numbers);
                    assert_eq!(found.images.size(), [numbers.len() as i64, 3, 16, 16]);
                    let images = Vec::<u8>::try_from(found.images.flatten(0, -1));
                    assert_eq!(images.unwrap(), expected);
                    let indices = Vec::<i64>::try_from(found.indices).unwrap();
                    assert_eq!(
                        indices,
                        numbers.iter().map(|&n| n as i64).collect::<Vec<_>>()
                    );
                }
                assert!(prefetch.next().is_none());
                // A prefetch that is dropped early ends too.
                drop(start());
            });
        }
    }
}
