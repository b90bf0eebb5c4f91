//! The one trait an objective stands behind, and which objectives there are: the paper's, its two parents' and its rivals'.
//! Knows logits, targets and which images are alike; neither pictures nor optimisers.

mod cnnh;
mod csq;
mod drlih;
mod dsh;
mod hashnet;
mod hyperplanes;
mod ninh;
mod pairs;

pub(super) use csq::quantization;
use tch::{Kind, Tensor};

use super::reinforce::Objective;
use crate::model::Card;
use crate::model::ModelError;
use crate::model::Unrolled;
use crate::model::centers;
use crate::options::Method as Name;
use crate::options::Train;
use scihcgrl_index::code::HashCode;
use scihcgrl_index::code::Length;

/// What a step learns from. `bits` is the longest length; a head's bits past its own length are to be ignored.
pub struct Batch<'a> {
    /// What the policies answered.
    pub unrolled: &'a Unrolled,
    /// The bits that each image's code should have, 0…1: `[heads, batch, bits]`.
    pub targets: &'a Tensor,
    /// 1/K for the first K bits of each head and 0 past its length: `[heads, 1, bits]`.
    pub share: &'a Tensor,
    /// 1 where two images have a class in common, else 0: `[batch, batch]`.
    pub similar: &'a Tensor,
    /// How much of the stage is done, 0…1.
    pub done: f64,
}

/// A step's loss and what it is watched by.
pub struct Step {
    /// To be minimised: a scalar, differentiable.
    pub loss: Tensor,
    /// Mean reward of action sets, −1…0: a scalar.
    pub reward: Tensor,
}

/// An objective.
pub trait Method {
    /// The loss of a batch, summed over heads and meant over images.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    fn step(&self, batch: &Batch) -> Result<Step, ModelError>;
}

/// The objective that was asked for.
pub(super) fn of(config: &Train) -> Box<dyn Method> {
    match config.method {
        Name::Scihcgrl => Box::new(Objective::from(config)),
        Name::Csq => Box::new(csq::Csq::from(config)),
        Name::Drlih => Box::new(drlih::Drlih::from(config)),
        Name::Hashnet => Box::new(hashnet::HashNet),
        Name::Dsh => Box::new(dsh::Dsh),
        Name::Ninh => Box::new(ninh::Ninh),
        Name::Cnnh => Box::new(cnnh::Cnnh),
        Name::Hyperplanes => Box::new(hyperplanes::Hyperplanes),
    }
}

/// The codes that images should have at one length: a row for each set of classes, or, where a method makes its own, for each
/// image.
pub(super) fn targets(
    config: &Train,
    card: &Card,
    length: Length,
    sets: &[Vec<usize>],
    labels: &[usize],
) -> Vec<HashCode> {
    if by_image(config.method) {
        return cnnh::factorise(sets, labels, length, config.seed);
    }
    let Some(all) = card.centers.get(&length) else {
        return Vec::new();
    };
    let of = |set: &Vec<usize>| {
        let centers: Vec<_> = set
            .iter()
            .filter_map(|&class| all.get(class).copied())
            .collect();
        centers::centroid(&centers, config.seed)
    };
    sets.iter().filter_map(of).collect()
}

/// Whether a method makes a target for each image, not for each set of classes.
pub(super) fn by_image(name: Name) -> bool {
    name == Name::Cnnh
}

/// Whether a method learns towards targets, so that a code can be said to be right.
pub(super) fn has_targets(name: Name) -> bool {
    matches!(name, Name::Scihcgrl | Name::Csq)
}

impl Batch<'_> {
    /// The last pass's logits, which become the code: `[heads, batch, bits]`.
    fn logits(&self) -> Result<Tensor, ModelError> {
        Ok(self.unrolled.logits.f_select(0, -1)?)
    }

    /// 1 for the bits a head has, else 0: `[heads, 1, bits]`.
    fn mask(&self) -> Result<Tensor, ModelError> {
        Ok(self.share.f_sign()?)
    }

    /// A loss with the reward of the likelier bits.
    fn watched(&self, loss: Tensor) -> Result<Step, ModelError> {
        let bits = self
            .logits()?
            .f_detach()?
            .f_ge(0.0)?
            .f_to_kind(Kind::Float)?;
        let misses = bits.f_sub(self.targets)?.f_abs()?.f_mul(self.share)?;
        let reward = misses.f_sum_dim_intlist([2i64].as_slice(), false, Kind::Float)?;
        Ok(Step {
            loss,
            reward: reward.f_mean(Kind::Float)?.f_neg()?,
        })
    }
}

#[cfg(test)]
mod tests;
