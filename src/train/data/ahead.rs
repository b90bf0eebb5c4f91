//! Batches made ahead of their use on threads of their own, and how long the user waited for them nevertheless.
//! Those threads compute in plain Rust: a second thread inside libtorch would make OpenMP keep more threads than there are cores.

use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread::Scope,
    time::{Duration, Instant},
};

use tch::{Device, Tensor};

use super::{
    augment::Augment,
    pictures::{Pictures, tensor},
};
use crate::model::ModelError;

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

/// Batches in the plan's order: the pictures' numbers, and what [`Pictures::batch`] makes of them.
pub struct Ahead<'a> {
    made: Vec<Receiver<(&'a [usize], Vec<u8>)>>,
    turn: usize,
    side: u32,
    device: Device,
    waited: Duration,
}

impl<'a> Ahead<'a> {
    /// Starts `threads` threads, at least one, which take turns: each holds a batch that is ready and works at the next. They end
    /// with the plan, or soon after this is dropped.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, 'a>,
        plan: Plan<'a>,
        threads: usize,
        device: Device,
    ) -> Self {
        let (side, threads) = (plan.side, threads.max(1));
        let made = (0..threads).map(|thread| {
            let (ready, made) = sync_channel(1);
            let plan = plan.clone();
            scope.spawn(move || {
                for &(seed, numbers) in plan.batches.iter().skip(thread).step_by(threads) {
                    let bytes = plan.pictures.draw(numbers, side, plan.augment, seed);
                    // Nobody receives when training has failed, which is told there.
                    if ready.send((numbers, bytes)).is_err() {
                        return;
                    }
                }
            });
            made
        });
        Ahead {
            made: made.collect(),
            turn: 0,
            side,
            device,
            waited: Duration::ZERO,
        }
    }

    /// How long [`Iterator::next`] has waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl<'a> Iterator for Ahead<'a> {
    type Item = Result<(&'a [usize], Tensor), ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        let started = Instant::now();
        // The thread whose turn it is has ended only when the plan is at its end.
        let made = self.made[self.turn].recv();
        self.waited += started.elapsed();
        self.turn = (self.turn + 1) % self.made.len();
        let (numbers, bytes) = made.ok()?;
        Some(tensor(&bytes, self.side, self.device).map(|images| (numbers, images)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{open, samples};
    use super::*;

    #[test]
    fn batches_come_in_order_as_they_would_be_made_at_once() {
        let folder = tempfile::tempdir().unwrap();
        samples::tree(folder.path());
        let pictures = Pictures::read(&open(folder.path()).unwrap(), None, 8, None, 0).unwrap();
        let augment = Some(Augment::new(0.5));
        let order = [3, 1, 4, 1, 5, 2, 6];
        let plan = Plan {
            pictures: &pictures,
            batches: (9..).zip(order.chunks(2)).collect(),
            side: 16,
            augment,
        };
        for threads in [0, 1, 2, 3, 8] {
            std::thread::scope(|scope| {
                let mut ahead = Ahead::start(scope, plan.clone(), threads, Device::Cpu);
                for &(seed, numbers) in &plan.batches {
                    let (found, images) = ahead.next().unwrap().unwrap();
                    let expected = pictures.batch(numbers, 16, augment, seed, Device::Cpu);
                    assert_eq!((found, images), (numbers, expected.unwrap()));
                }
                assert!(ahead.next().is_none());
                assert!(ahead.waited() > Duration::ZERO);
                // One that is left early ends too.
                drop(Ahead::start(scope, plan.clone(), threads, Device::Cpu));
            });
        }
    }
}
