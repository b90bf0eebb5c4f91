//! What a training minimises: the trait that an objective stands behind, and what a step gives it.
//! Knows logits, targets and which images are alike; neither pictures nor optimisers.

use scihcgrl_index::code::{HashCode, Length};
use tch::{Kind, Tensor};

use crate::{
    model::{Card, ModelError, Unrolled, centers},
    options::Train,
};

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

/// A step's loss and the reward that it is watched by.
pub struct Step {
    /// To be minimised: a scalar, differentiable.
    pub loss: Tensor,
    /// Mean reward of action sets, −1…0: a scalar.
    pub reward: Tensor,
}

/// An objective.
pub trait Objective {
    /// Its name, as a model's card records it.
    fn name(&self) -> &'static str;

    /// Returns the loss of a batch, summed over heads and meant over images.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    fn step(&self, batch: &Batch) -> Result<Step, ModelError>;

    /// Whether it learns towards hash centres, so that a code can be right or wrong.
    fn has_centers(&self) -> bool {
        true
    }

    /// Whether there is anything to learn.
    fn learns(&self) -> bool {
        true
    }

    /// Returns the codes that images should have at one length: a row for each set of classes, or for each image if the objective
    /// has [targets of its own](Self::has_own_targets).
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
        let of = |set: &Vec<usize>| {
            let centers: Vec<_> = set
                .iter()
                .filter_map(|&class| all.get(class).copied())
                .collect();
            centers::centroid(&centers, config.seed)
        };
        sets.iter().filter_map(of).collect()
    }

    /// Whether it makes a target for each image instead of one for each set of classes.
    fn has_own_targets(&self) -> bool {
        false
    }
}

impl Batch<'_> {
    /// The last pass's logits, which become the code: `[heads, batch, bits]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn logits(&self) -> Result<Tensor, ModelError> {
        Ok(self.unrolled.logits.f_select(0, -1)?)
    }

    /// 1 for the bits a head has, else 0: `[heads, 1, bits]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn mask(&self) -> Result<Tensor, ModelError> {
        Ok(self.share.f_sign()?)
    }

    /// A step of this loss, with the reward of the likelier bits.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn watched(&self, loss: Tensor) -> Result<Step, ModelError> {
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

/// How far action values tanh z stand from ±1, squared, of the shape of z: CSQ's quantisation term.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn quantization(z: &Tensor) -> Result<Tensor, ModelError> {
    Ok(z.f_tanh()?.f_abs()?.f_add_scalar(-1.0)?.f_square()?)
}
