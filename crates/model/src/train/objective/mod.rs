//! The objectives of training: the trait, and the input and output of a step.
//!
//! - `reinforce`: the paper's objective
//! - `rollout`: sampled action sets
//! - `reward`: their reward and its expectation

pub mod reinforce;
pub mod reward;
pub mod rollout;

use scihcgrl_index::code::{HashCode, Length};
use tch::{Kind, Tensor};

use crate::{card::Card, centers, error::ModelError, network::policy::Unrolled, options::Train};

/// The input of a step. `bits` is the longest length. Ignore a head's bits beyond its own length.
pub struct Batch<'a> {
    /// The output of the policies.
    pub unrolled: &'a Unrolled,
    /// The wanted bits of each image's code, 0…1: `[heads, batch, bits]`.
    pub targets: &'a Tensor,
    /// 1/K for the first K bits of each head and 0 past its length: `[heads, 1, bits]`.
    pub share: &'a Tensor,
    /// 1 if two images have a class in common, otherwise 0: `[batch, batch]`.
    pub similar: &'a Tensor,
    /// The share of the stage that is done, 0…1.
    pub done: f64,
}

/// The loss of a step, and the reward that shows its progress.
pub struct Step {
    /// The loss to minimise: a scalar, differentiable.
    pub loss: Tensor,
    /// Mean reward of action sets, −1…0: a scalar.
    pub reward: Tensor,
}

/// A loss that training minimises.
pub trait Objective {
    /// Returns its name, as recorded in a model's card.
    fn name(&self) -> &'static str;

    /// Returns the loss of a batch, summed over heads and averaged over images.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    fn step(&self, batch: &Batch) -> Result<Step, ModelError>;

    /// Returns true if it trains towards hash centres, so that a code can be right or wrong.
    fn has_centers(&self) -> bool {
        true
    }

    /// Returns true if it has anything to learn.
    fn learns(&self) -> bool {
        true
    }

    /// Returns the wanted codes of one length: one row per set of classes, or one row per image if
    /// the objective has [targets of its own](Self::has_own_targets).
    fn targets(
        &self,
        config: &Train,
        card: &Card,
        length: Length,
        sets: &[Vec<usize>],
        _labels: &[usize],
    ) -> Vec<HashCode> {
        let Some(all) = card.centers.get(&length) else {
            return Vec::new();
        };
        let target = |set: &Vec<usize>| {
            let centers: Vec<_> = set
                .iter()
                .filter_map(|&class| all.get(class).copied())
                .collect();
            centers::centroid(&centers, config.seed)
        };
        sets.iter().filter_map(target).collect()
    }

    /// Returns true if it makes one target per image instead of one per set of classes.
    fn has_own_targets(&self) -> bool {
        false
    }
}

impl Batch<'_> {
    /// Returns the logits of the last pass, which become the code: `[heads, batch, bits]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn logits(&self) -> Result<Tensor, ModelError> {
        Ok(self.unrolled.logits.f_select(0, -1)?)
    }

    /// Returns 1 for the bits that a head has, otherwise 0: `[heads, 1, bits]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn mask(&self) -> Result<Tensor, ModelError> {
        Ok(self.share.f_sign()?)
    }

    /// Makes a step with this loss and the reward of the likelier bits.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn with_reward(&self, loss: Tensor) -> Result<Step, ModelError> {
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

/// Returns the squared distance of action values tanh z from ±1, in the shape of z: CSQ's
/// quantisation term.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn quantization(z: &Tensor) -> Result<Tensor, ModelError> {
    Ok(z.f_tanh()?.f_abs()?.f_add_scalar(-1.0)?.f_square()?)
}
