//! What moves the weights: AdamW or SGD with momentum, with a state that can be written down and read back, which tch's own
//! optimisers do not give. Knows variables and gradients; neither losses nor schedules.

use std::{collections::BTreeMap, ops::Range};

use tch::{Kind, Tensor};

use super::{flat::Flat, resume::missing};
use crate::{
    model::ModelError,
    options::{Optimizer as Rule, Train},
};

/// AdamW's decay of the first moment, and SGD's momentum.
const MOMENTUM: f64 = 0.9;
/// AdamW's decay of the second moment.
const SECOND: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// The norm that gradients are cut to.
const LONGEST: f64 = 1.0;

/// The rates of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// Of the backbone; at 0 it stands still.
    pub backbone: f64,
    /// Of the policies.
    pub policy: f64,
}

/// Moves the trainable variables of a network.
pub(super) struct Optimizer<'a> {
    rule: Rule,
    decay: f64,
    steps: i64,
    flat: &'a Flat,
    first: Tensor,          // [trained entries]
    second: Option<Tensor>, // [trained entries]
}

impl<'a> Optimizer<'a> {
    /// An optimiser of all trainable variables, at rest.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(flat: &'a Flat, config: &Train) -> Result<Self, ModelError> {
        Ok(Optimizer {
            rule: config.optimizer,
            decay: config.weight_decay,
            steps: 0,
            first: flat.gradients.f_zeros_like()?,
            second: match config.optimizer {
                Rule::Adamw => Some(flat.gradients.f_zeros_like()?),
                Rule::Sgd => None,
            },
            flat,
        })
    }

    /// One step down the gradients, which are cut to norm 1 and zeroed afterwards. Reads nothing back, so that a GPU is never waited for.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn step(&mut self, rates: Rates) -> Result<(), ModelError> {
        self.steps += 1;
        tch::no_grad(|| self.moved(rates))
    }

    fn moved(&mut self, rates: Rates) -> Result<(), ModelError> {
        let Flat {
            gradients,
            backbone,
            ..
        } = self.flat;
        let all = gradients.size()[0];
        let moved = if rates.backbone > 0.0 { 0 } else { *backbone };
        let mut cut = gradients.f_narrow(0, moved, all - moved)?;
        let factor = cut.f_norm()?.f_add_scalar(1e-6)?.f_reciprocal()?;
        let factor = factor.f_mul_scalar(LONGEST)?.f_clamp_max(1.0)?;
        let _ = cut.f_mul_(&factor)?;
        self.move_range(moved..*backbone, rates.backbone)?;
        self.move_range(*backbone..all, rates.policy)?;
        let _zeroed = gradients.shallow_clone().f_zero_()?;
        Ok(())
    }

    fn move_range(&self, range: Range<i64>, rate: f64) -> Result<(), ModelError> {
        if range.is_empty() || rate == 0.0 {
            return Ok(());
        }
        let part = |of: &Tensor| of.f_narrow(0, range.start, range.end - range.start);
        let (mut value, gradient) = (part(&self.flat.values)?, part(&self.flat.gradients)?);
        let mut first = part(&self.first)?;
        match (self.rule, &self.second) {
            (Rule::Adamw, Some(second)) => {
                let mut second = part(second)?;
                let _ = value.f_mul_scalar_(1.0 - rate * self.decay)?;
                let _ = first.f_lerp_(&gradient, 1.0 - MOMENTUM)?;
                let square = gradient.f_square()?.f_mul_scalar(1.0 - SECOND)?;
                let _ = second.f_mul_scalar_(SECOND)?.f_add_(&square)?;
                let unbiased = |decay: f64| 1.0 - decay.powi(self.steps as i32);
                let scale = second
                    .f_sqrt()?
                    .f_div_scalar(unbiased(SECOND).sqrt())?
                    .f_add_scalar(EPSILON)?;
                let step = first
                    .f_div(&scale)?
                    .f_mul_scalar(-rate / unbiased(MOMENTUM))?;
                let _ = value.f_add_(&step)?;
            }
            _ => {
                let gradient = gradient.f_add(&value.f_mul_scalar(self.decay)?)?;
                let _ = first.f_mul_scalar_(MOMENTUM)?.f_add_(&gradient)?;
                let _ = value.f_sub_(&first.f_mul_scalar(rate)?)?;
            }
        }
        Ok(())
    }

    /// The state to be written down, by name.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn state(&self) -> Result<Vec<(String, Tensor)>, ModelError> {
        let steps = Tensor::from(self.steps as f32).view([1]);
        let mut state = vec![("steps".to_owned(), steps)];
        for (moment, of) in self.moments() {
            let parts = self.flat.parts(of)?.into_iter();
            state.extend(parts.map(|(name, part)| (format!("{moment}.{name}"), part)));
        }
        Ok(state)
    }

    /// Takes up a state that was written down.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also where a part is missing or of another shape.
    pub fn take_up(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let part = |name: String| state.get(&name).ok_or_else(|| missing(&name));
        self.steps = f64::try_from(part("steps".to_owned())?.f_to_kind(Kind::Double)?)? as i64;
        for (moment, of) in self.moments() {
            for (name, mut value) in self.flat.parts(of)? {
                value.f_copy_(part(format!("{moment}.{name}"))?)?;
            }
        }
        Ok(())
    }

    fn moments(&self) -> impl Iterator<Item = (&'static str, &Tensor)> {
        let second = self.second.iter().map(|second| ("second", second));
        [("first", &self.first)].into_iter().chain(second)
    }
}
