//! What the stages of a training share: the targets of the images, the division into training and validation, randomness that
//! depends on nothing but the seed and where the training stands, and the step.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::{
    objective::{Batch, Objective},
    optimizer::{Optimizer, Rates},
};
use crate::{
    model::{self, Card, Choice, ModelError, Pass, Policy},
    options::Train,
};

/// A stage of a training, for its random numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Features,
    WarmUp,
    Joint,
}

/// What one step is about.
pub(super) struct Lesson {
    /// The images' numbers, `[batch]`, on the device.
    pub places: Tensor,
    /// The share of image i that comes from image n − 1 − i of the batch of n, 0…1.
    pub mixed: Option<f64>,
    /// How much of the stage is done, 0…1.
    pub done: f64,
    /// The rates.
    pub rates: Rates,
}

/// A training at work.
pub struct Run<'a> {
    pub(super) config: &'a Train,
    pub(super) device: Device,
    pub(super) pass: Pass,
    pub(super) targets: Targets,
    pub(super) objective: &'a dyn Objective,
}

/// What the code of each image should be.
pub(super) struct Targets {
    /// The set of classes of each image: `[images]`, `Int64`.
    labels: Tensor,
    /// The row of `bits` that is each image's: `[images]`, `Int64`.
    rows: Tensor,
    /// 0 or 1: `[heads, rows, bits]`.
    bits: Tensor,
    /// 1/K for the first K bits of each head and 0 past its length: `[heads, 1, bits]`.
    pub share: Tensor,
    /// 1 where two sets have a class in common, else 0: `[sets, sets]`.
    related: Tensor,
}

impl<'a> Run<'a> {
    /// Prepares a training of images of which the `labels`-th of `sets` are the classes.
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
            targets: Targets::new(config, objective, card, sets, labels)?.on(device)?,
            config,
            device,
            pass: Pass {
                train: false,
                kind: model::kind(config.compute.precision, device),
            },
            objective,
        })
    }

    /// Random numbers of an epoch of a stage, the same whether the training was stopped before or not. libtorch's own are set by
    /// them too.
    pub(super) fn random(&self, stage: Stage, epoch: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        rng.set_stream((stage as u64) << 32 | epoch as u64);
        tch::manual_seed(rng.random());
        rng
    }

    /// The loss beyond which a training has diverged: chance alone gives a fifteenth of it. Without hash centres there is no such measure.
    pub(super) fn most_loss(&self) -> f64 {
        let weights = self.config.global_weight + self.config.reinforce_weight;
        match self.objective.has_centers() {
            true => 10.0 * weights.max(1.0),
            false => f64::INFINITY,
        }
    }

    /// Steps between two readings of the losses. Each reading waits for a GPU.
    pub(super) fn reading(&self) -> usize {
        match self.device {
            Device::Cpu => 1,
            _ => 16,
        }
    }

    /// One step of the optimiser on features `[batch, feature]`; the loss and the reward, `[2]`. Nothing is read back from a GPU, which would
    /// wait for it.
    pub(super) fn learn(
        &self,
        policy: &Policy,
        features: &Tensor,
        lesson: &Lesson,
        optimizer: &mut Optimizer,
    ) -> Result<Tensor, ModelError> {
        let places = &lesson.places;
        let unrolled = policy.unroll(features, Choice::Sample, self.config.dropout)?;
        let mut targets = self.targets.of(places)?;
        if let Some(share) = lesson.mixed {
            targets = targets.f_lerp(&targets.f_flip([1])?, share)?;
        }
        let step = self.objective.step(&Batch {
            unrolled: &unrolled,
            targets: &targets,
            share: &self.targets.share,
            similar: &self.targets.similar(places)?,
            done: lesson.done,
        })?;
        step.loss.f_backward()?;
        optimizer.step(lesson.rates)?;
        Ok(Tensor::f_stack(
            &[step.loss.f_detach()?, step.reward.f_detach()?],
            0,
        )?)
    }
}

impl Targets {
    fn new(
        config: &Train,
        objective: &dyn Objective,
        card: &Card,
        sets: &[Vec<usize>],
        labels: &[usize],
    ) -> Result<Self, ModelError> {
        let bits = card
            .lengths
            .iter()
            .map(|length| length.bits())
            .max()
            .unwrap_or(0);
        let (mut values, mut share) = (Vec::new(), Vec::new());
        let mut rows = 0;
        for &length in &card.lengths {
            let codes = objective.targets(config, card, length, sets, labels);
            rows = codes.len();
            for code in codes {
                let row = code.bits().iter().map(|bit| f32::from(u8::from(*bit)));
                values.extend(row.chain(std::iter::repeat(0.0)).take(bits));
            }
            let each = std::iter::repeat_n(1.0 / length.bits() as f32, length.bits());
            share.extend(each.chain(std::iter::repeat(0.0)).take(bits));
        }
        let related = sets.iter().flat_map(|one| {
            sets.iter()
                .map(|other| f32::from(u8::from(one.iter().any(|class| other.contains(class)))))
        });
        let heads = card.lengths.len() as i64;
        let sides = [sets.len() as i64; 2];
        let labels: Vec<i64> = labels.iter().map(|&set| set as i64).collect();
        let labels = Tensor::f_from_slice(&labels)?;
        Ok(Targets {
            rows: match objective.has_own_targets() {
                true => Tensor::f_arange(rows as i64, (Kind::Int64, Device::Cpu))?,
                false => labels.shallow_clone(),
            },
            labels,
            bits: Tensor::f_from_slice(&values)?.f_view([heads, rows as i64, bits as i64])?,
            share: Tensor::f_from_slice(&share)?.f_view([heads, 1, bits as i64])?,
            related: Tensor::f_from_slice(&related.collect::<Vec<_>>())?.f_view(sides)?,
        })
    }

    /// Gives every image a target of its own: values `[heads, images, bits]`, cut to −1…1, become the probabilities of their bits.
    pub fn soften(&mut self, values: &Tensor) -> Result<(), ModelError> {
        self.bits = values
            .f_add_scalar(1.0)?
            .f_div_scalar(2.0)?
            .f_clamp(0.0, 1.0)?;
        self.rows = Tensor::f_arange(values.size()[1], (Kind::Int64, self.bits.device()))?;
        Ok(())
    }

    fn on(self, device: Device) -> Result<Self, ModelError> {
        Ok(Targets {
            labels: self.labels.f_to_device(device)?,
            rows: self.rows.f_to_device(device)?,
            bits: self.bits.f_to_device(device)?,
            share: self.share.f_to_device(device)?,
            related: self.related.f_to_device(device)?,
        })
    }

    /// The targets of the images at some places: `[heads, batch, bits]`.
    fn of(&self, places: &Tensor) -> Result<Tensor, ModelError> {
        let rows = self.rows.f_index_select(0, places)?;
        Ok(self.bits.f_index_select(1, &rows)?)
    }

    /// Which images have a class in common: `[batch, batch]`, 0 or 1.
    fn similar(&self, places: &Tensor) -> Result<Tensor, ModelError> {
        let sets = self.labels.f_index_select(0, places)?;
        Ok(self
            .related
            .f_index_select(0, &sets)?
            .f_index_select(1, &sets)?)
    }

    /// Per head, how many of some codes' signs, `[heads, batch, bits]`, are nearest to the target of their own image's set, of all
    /// rows: `[heads]`, `Int64`.
    pub fn nearest(&self, logits: &Tensor, places: &Tensor) -> Result<Tensor, ModelError> {
        let mask = self.share.f_sign()?;
        let signs = |bits: &Tensor| bits.f_mul_scalar(2.0)?.f_add_scalar(-1.0)?.f_mul(&mask);
        let codes = signs(&logits.f_ge(0.0)?.f_to_kind(Kind::Float)?)?;
        let agreement = codes.f_bmm(&signs(&self.bits)?.f_transpose(1, 2)?)?; // [heads, batch, rows]
        let own = self.rows.f_index_select(0, places)?;
        let right = agreement.f_argmax(2, false)?.f_eq_tensor(&own)?;
        Ok(right.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Int64)?)
    }
}
