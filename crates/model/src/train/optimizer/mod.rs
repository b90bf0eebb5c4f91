//! The optimisers AdamW and SGD with momentum. Unlike tch's, they can save and restore their state.
//!
//! - `flat`: all variables in one tensor
//! - `average`: a moving average of the weights
//! - `schedule`: learning rates

pub mod average;
pub mod flat;
pub mod schedule;

use std::{collections::BTreeMap, ops::Range};

use tch::{Kind, Tensor};

use crate::{
    error::ModelError,
    options::{Optimizer as Rule, Train},
    train::resume::missing_tensor,
};

use flat::FlatVariables;

/// Decay of AdamW's first moment, and SGD's momentum.
const MOMENTUM: f64 = 0.9;
/// Decay of AdamW's second moment.
const SECOND_MOMENT_DECAY: f64 = 0.999;
const EPSILON: f64 = 1e-8;
/// The norm that gradients are clipped to.
const MAX_GRADIENT_NORM: f64 = 1.0;

/// The learning rates of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Rate of the backbone. 0 leaves it unchanged.
    pub backbone: f64,
    /// Rate of the policies.
    pub policy: f64,
}

/// Updates the trainable variables of a network.
pub(crate) struct Optimizer<'a> {
    rule: Rule,
    decay: f64,
    steps: i64,
    flat: &'a FlatVariables,
    first: Tensor,          // [trained entries]
    second: Option<Tensor>, // [trained entries]
}

impl<'a> Optimizer<'a> {
    /// Makes an optimiser of all trainable variables, with moments of 0.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(flat: &'a FlatVariables, config: &Train) -> Result<Self, ModelError> {
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

    /// Takes one step along the gradients, which are clipped to norm 1 and then set to zero. Reads
    /// nothing back, so it never waits for a GPU.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn step(&mut self, rates: Rates) -> Result<(), ModelError> {
        self.steps += 1;
        tch::no_grad(|| self.update(rates))
    }

    fn update(&mut self, rates: Rates) -> Result<(), ModelError> {
        let FlatVariables {
            gradients,
            backbone,
            ..
        } = self.flat;
        let all = gradients.size()[0];
        let update = if rates.backbone > 0.0 { 0 } else { *backbone };
        let mut cut = gradients.f_narrow(0, update, all - update)?;
        let factor = cut.f_norm()?.f_add_scalar(1e-6)?.f_reciprocal()?;
        let factor = factor.f_mul_scalar(MAX_GRADIENT_NORM)?.f_clamp_max(1.0)?;
        let _ = cut.f_mul_(&factor)?;
        self.move_range(update..*backbone, rates.backbone)?;
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
                let square = gradient
                    .f_square()?
                    .f_mul_scalar(1.0 - SECOND_MOMENT_DECAY)?;
                let _ = second.f_mul_scalar_(SECOND_MOMENT_DECAY)?.f_add_(&square)?;
                let unbiased = |decay: f64| 1.0 - decay.powi(self.steps as i32);
                let scale = second
                    .f_sqrt()?
                    .f_div_scalar(unbiased(SECOND_MOMENT_DECAY).sqrt())?
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

    /// Returns the state to save, by name.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn state(&self) -> Result<Vec<(String, Tensor)>, ModelError> {
        let steps = Tensor::from(self.steps as f32).view([1]);
        let mut state = vec![("steps".to_owned(), steps)];
        for (moment, of) in self.moments() {
            let views = self.flat.views(of)?.into_iter();
            state.extend(views.map(|(name, part)| (format!("{moment}.{name}"), part)));
        }
        Ok(state)
    }

    /// Restores a saved state.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also if a part is missing or of another shape.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let part = |name: String| state.get(&name).ok_or_else(|| missing_tensor(&name));
        self.steps = f64::try_from(part("steps".to_owned())?.f_to_kind(Kind::Double)?)? as i64;
        for (moment, of) in self.moments() {
            for (name, mut value) in self.flat.views(of)? {
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
