//! A run of training: its stages and what they share. Random numbers depend only on the seed, the
//! stage and the epoch.
//!
//! - `targets`: the wanted codes of images
//! - `features`: features of all training images
//! - `warm_up`: the first stage
//! - `joint`: the second stage
//! - `mix`: mixed pictures and features

mod features;
pub mod joint;
mod mix;
pub mod targets;
mod warm_up;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

use crate::{
    card::Card,
    device,
    error::ModelError,
    network::{
        backbone::Pass,
        policy::{Choice, Policy},
    },
    options::Train,
    train::{
        data::pictures::Pictures,
        objective::{Batch, Objective},
        optimizer::{Optimizer, Rates},
    },
};

use targets::Targets;

/// A stage of a training; each has its own random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Features,
    WarmUp,
    Joint,
}

/// The input of one step, besides the features.
pub(crate) struct StepInput {
    /// The images' numbers, `[batch]`, on the device.
    pub indices: Tensor,
    /// The share of image i that comes from image n − 1 − i of a batch of n, 0…1.
    pub mix_share: Option<f64>,
    /// The share of the stage that is done, 0…1.
    pub done: f64,
    /// Learning rates of the step.
    pub rates: Rates,
}

/// The options, the device and the targets that all stages of a training share.
pub struct Run<'a> {
    pub(crate) config: &'a Train,
    pub(crate) device: Device,
    pub(crate) pass: Pass,
    pub(crate) targets: Targets,
    pub(crate) objective: &'a dyn Objective,
}

impl<'a> Run<'a> {
    /// Prepares a training. The classes of image i are `sets[labels[i]]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(
        config: &'a Train,
        objective: &'a dyn Objective,
        card: &Card,
        sets: &[Vec<usize>],
        labels: &[usize],
        device: Device,
    ) -> Result<Self, ModelError> {
        Ok(Run {
            targets: Targets::new(config, objective, card, sets, labels)?.move_to(device)?,
            config,
            device,
            pass: Pass {
                train: false,
                kind: device::kind(config.compute.precision, device),
            },
            objective,
        })
    }

    /// Returns the random numbers of an epoch of a stage, which are the same in a resumed training.
    /// Also seeds libtorch's generator.
    pub(crate) fn random(&self, stage: Stage, epoch: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        rng.set_stream((stage as u64) << 32 | epoch as u64);
        tch::manual_seed(rng.random());
        rng
    }

    /// Returns the loss above which a training has diverged: about fifteen times that of random
    /// codes. Without hash centres there is no such bound.
    pub(crate) fn max_loss(&self) -> f64 {
        let weights = self.config.global_weight + self.config.reinforce_weight;
        if self.objective.has_centers() {
            10.0 * weights.max(1.0)
        } else {
            f64::INFINITY
        }
    }

    /// Returns the number of steps between two readings of the losses. Each reading waits for a
    /// GPU.
    pub(crate) fn read_interval(&self) -> usize {
        match self.device {
            Device::Cpu => 1,
            _ => 16,
        }
    }

    /// Takes one step of the optimiser on features `[batch, feature]`, and returns the loss and the
    /// reward, `[2]`. Nothing is read back, because that would wait for a GPU.
    pub(crate) fn learn(
        &self,
        policy: &Policy,
        features: &Tensor,
        input: &StepInput,
        optimizer: &mut Optimizer,
    ) -> Result<Tensor, ModelError> {
        let indices = &input.indices;
        let unrolled = policy.unroll(features, Choice::Sample, self.config.dropout)?;
        let mut targets = self.targets.for_images(indices)?;
        if let Some(share) = input.mix_share {
            targets = targets.f_lerp(&targets.f_flip([1])?, share)?;
        }
        let step = self.objective.step(&Batch {
            unrolled: &unrolled,
            targets: &targets,
            share: &self.targets.share,
            similar: &self.targets.similar(indices)?,
            done: input.done,
        })?;
        step.loss.f_backward()?;
        optimizer.step(input.rates)?;
        Ok(Tensor::f_stack(
            &[step.loss.f_detach()?, step.reward.f_detach()?],
            0,
        )?)
    }
}

/// The numbers of the images that are trained on and validated with.
pub(crate) struct TrainingImages<'a> {
    pub pictures: &'a Pictures,
    pub train: Vec<usize>,
    pub validation: Vec<usize>,
}
