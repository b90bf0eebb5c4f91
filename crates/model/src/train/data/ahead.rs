//! Batches made ahead of their use on threads of their own, brought to a GPU by one more, and how long the user waited nevertheless.
//! Threads that make pictures compute in plain Rust: a second thread inside libtorch would make OpenMP keep more threads than there are
//! cores.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::{Scope, available_parallelism, scope},
    time::{Duration, Instant},
    vec,
};

use tch::{Device, Kind, Tensor};

use super::{augment::Augment, pictures::Pictures};
use crate::model::ModelError;

/// Batches of which a thread has its part ready, and batches that lie on a GPU, before they are asked for.
const READY: usize = 2;

/// Which batches are made.
#[derive(Clone)]
pub struct Plan<'a> {
    /// What from.
    pub pictures: &'a Pictures,
    /// Of each batch the seed and the pictures' numbers, in order. Batches of equal seeds are changed alike.
    pub batches: Vec<(u64, &'a [usize])>,
    /// Pixels a side.
    pub side: u32,
    /// How they are changed.
    pub augment: Option<Augment>,
}

impl<'a> Plan<'a> {
    /// Pictures as they are, in batches of `size`.
    pub fn unchanged(pictures: &'a Pictures, numbers: &'a [usize], size: usize, side: u32) -> Self {
        Plan {
            pictures,
            batches: numbers.chunks(size).map(|batch| (0, batch)).collect(),
            side,
            augment: None,
        }
    }
}

/// A batch on the device that computes.
pub struct Batch<'a> {
    /// The pictures' numbers.
    pub numbers: &'a [usize],
    /// The same there: `[batch]`, `Int64`.
    pub places: Tensor,
    /// `[batch, 3, side, side]` in 0…255, `Uint8`.
    pub images: Tensor,
}

/// A batch's numbers and its bytes, `[batch, 3, side, side]`.
type Made<'a> = (&'a [usize], Vec<u8>);

/// Batches in the plan's order.
pub struct Ahead<'a> {
    from: From<'a>,
    waited: Duration,
}

/// Where batches come from.
enum From<'a> {
    /// From the makers as bytes, which [`Iterator::next`] turns into tensors.
    Makers(Makers<'a>, u32),
    /// From the thread that uploads to a GPU.
    Uploader(Receiver<Result<Batch<'a>, ModelError>>),
}

/// The ends of the threads that each make a part of every batch, in the parts' order.
struct Makers<'a> {
    parts: Vec<Receiver<Vec<u8>>>,
    left: vec::IntoIter<(u64, &'a [usize])>,
}

impl<'a> Iterator for Makers<'a> {
    type Item = Made<'a>;

    fn next(&mut self) -> Option<Made<'a>> {
        let (_, numbers) = self.left.next()?;
        let parts = self.parts.iter().map(Receiver::recv);
        // A thread ends before the plan does only by a panic, which its scope passes on.
        let parts: Vec<_> = parts.collect::<Result<_, _>>().ok()?;
        Some((numbers, parts.concat()))
    }
}

impl<'a> Ahead<'a> {
    /// Starts `threads` threads, at least one, each of which makes a part of every batch, so that the first is soon there. They end with
    /// the plan, or soon after this is dropped. For a GPU one more thread uploads, while the device computes.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        plan: Plan<'a>,
        threads: usize,
        device: Device,
    ) -> Self {
        Ahead::begin(scope, plan, threads, device, device != Device::Cpu)
    }

    /// The same, uploading on a thread of its own or not.
    fn begin<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        plan: Plan<'a>,
        threads: usize,
        device: Device,
        uploads: bool,
    ) -> Self {
        let (side, threads) = (plan.side, threads.max(1));
        let parts = (0..threads).map(|thread| {
            let (ready, part) = sync_channel(READY);
            let plan = plan.clone();
            scope.spawn(move || {
                for &(seed, numbers) in &plan.batches {
                    let at = |thread: usize| thread * numbers.len() / threads;
                    let part = at(thread)..at(thread + 1);
                    let bytes = plan.pictures.draw(numbers, part, side, plan.augment, seed);
                    // Nobody receives when training has failed, which is told there.
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
        let from = match uploads {
            false => From::Makers(makers, side),
            true => {
                let (ready, uploaded) = sync_channel(READY);
                scope.spawn(move || {
                    for (numbers, bytes) in makers {
                        if ready.send(batch(numbers, &bytes, side, device)).is_err() {
                            return;
                        }
                    }
                });
                From::Uploader(uploaded)
            }
        };
        Ahead {
            from,
            waited: Duration::ZERO,
        }
    }

    /// How long [`Iterator::next`] has waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<'a> Iterator for Ahead<'a> {
    type Item = Result<Batch<'a>, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        let started = Instant::now();
        match &mut self.from {
            From::Makers(makers, side) => {
                let made = makers.next();
                self.waited += started.elapsed();
                made.map(|(numbers, bytes)| batch(numbers, &bytes, *side, Device::Cpu))
            }
            From::Uploader(uploaded) => {
                let batch = uploaded.recv();
                self.waited += started.elapsed();
                batch.ok()
            }
        }
    }
}

/// What is made of each batch of a plan, in order, on a device.
///
/// # Errors
/// The first that `make` returns, and [`ModelError::Tensor`].
pub fn each<R>(
    plan: Plan<'_>,
    device: Device,
    mut make: impl FnMut(Batch<'_>) -> Result<R, ModelError>,
) -> Result<Vec<R>, ModelError> {
    scope(|scope| {
        let ahead = Ahead::start(scope, plan, threads(device), device);
        ahead.map(|batch| make(batch?)).collect()
    })
}

/// Threads that make pictures: beside a GPU all cores but two, for those who ask it to compute and upload; one beside libtorch's own where
/// they share the cores.
pub fn threads(device: Device) -> usize {
    match device {
        Device::Cpu => 1,
        _ => available_parallelism().map_or(1, |cores| cores.get().saturating_sub(2).max(1)),
    }
}

/// A batch's bytes and numbers as tensors on a device. From pinned memory the copy is asynchronous and in stream order, so no thread waits
/// for it.
fn batch<'a>(
    numbers: &'a [usize],
    bytes: &[u8],
    side: u32,
    device: Device,
) -> Result<Batch<'a>, ModelError> {
    let (count, side) = (numbers.len() as i64, i64::from(side));
    let places: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
    let places = Tensor::f_from_slice(&places)?;
    let images = Tensor::f_from_data_size(bytes, &[count, 3, side, side], Kind::Uint8)?;
    let there = |tensor: Tensor| match device {
        Device::Cpu => Ok(tensor),
        _ => tensor
            .f_internal_pin_memory(device)?
            .f_to_device_(device, tensor.kind(), true, false),
    };
    Ok(Batch {
        numbers,
        places: there(places)?,
        images: there(images)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{open, samples};
    use super::*;

    #[test]
    fn batches_come_in_order_as_they_would_be_made_at_once() {
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
        let plan = Plan {
            pictures: &pictures,
            batches: (9..).zip(order.chunks(2)).collect(),
            side: 16,
            augment,
        };
        for (threads, uploads) in [(0, false), (1, true), (2, false), (3, true), (8, false)] {
            std::thread::scope(|scope| {
                let start = || Ahead::begin(scope, plan.clone(), threads, Device::Cpu, uploads);
                let mut ahead = start();
                for &(seed, numbers) in &plan.batches {
                    let found = ahead.next().unwrap().unwrap();
                    let expected = pictures.draw(numbers, 0..numbers.len(), 16, augment, seed);
                    assert_eq!(found.numbers, numbers);
                    assert_eq!(found.images.size(), [numbers.len() as i64, 3, 16, 16]);
                    let images = Vec::<u8>::try_from(found.images.flatten(0, -1));
                    assert_eq!(images.unwrap(), expected);
                    let places = Vec::<i64>::try_from(found.places).unwrap();
                    assert_eq!(
                        places,
                        numbers.iter().map(|&n| n as i64).collect::<Vec<_>>()
                    );
                }
                assert!(ahead.next().is_none());
                // One that is left early ends too.
                drop(start());
            });
        }
    }
}
