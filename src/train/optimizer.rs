//! What moves the weights: AdamW or SGD with momentum, with a state that can be written down and read back, which tch's own
//! optimisers do not give. Knows variables and gradients; neither losses nor schedules.

use std::collections::BTreeMap;

use tch::{Kind, Tensor, nn::VarStore};

use super::resume::missing;
use crate::{
    config::{Optimizer as Rule, Train},
    model::ModelError,
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
pub struct Rates {
    /// Of the backbone; at 0 it stands still.
    pub backbone: f64,
    /// Of the policies.
    pub policy: f64,
}

/// Moves the trainable variables of a network.
pub struct Optimizer {
    rule: Rule,
    decay: f64,
    steps: i64,
    parameters: Vec<Parameter>,
}

struct Parameter {
    name: String,
    value: Tensor,
    first: Tensor,
    second: Option<Tensor>,
}

impl Optimizer {
    /// An optimiser of all trainable variables, at rest.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(variables: &VarStore, config: &Train) -> Result<Self, ModelError> {
        let mut named: Vec<_> = variables.variables().into_iter().collect();
        named.retain(|(_, value)| value.requires_grad());
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        let parameters = named.into_iter().map(|(name, value)| {
            Ok(Parameter {
                first: value.f_zeros_like()?.detach(),
                second: match config.optimizer {
                    Rule::Adamw => Some(value.f_zeros_like()?.detach()),
                    Rule::Sgd => None,
                },
                name,
                value,
            })
        });
        Ok(Optimizer {
            rule: config.optimizer,
            decay: config.weight_decay,
            steps: 0,
            parameters: parameters.collect::<Result<_, ModelError>>()?,
        })
    }

    /// One step down the gradients, which are cut to norm 1 and zeroed afterwards.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn step(&mut self, rates: Rates) -> Result<(), ModelError> {
        self.steps += 1;
        tch::no_grad(|| self.moved(rates))
    }

    fn moved(&mut self, rates: Rates) -> Result<(), ModelError> {
        let rate = |name: &str| match name.starts_with("backbone.") {
            true => rates.backbone,
            false => rates.policy,
        };
        let mut gradients = Vec::new();
        for parameter in &mut self.parameters {
            let gradient = parameter.value.f_grad()?;
            if gradient.defined() && rate(&parameter.name) > 0.0 {
                gradients.push((rate(&parameter.name), parameter, gradient));
            }
        }
        let norms = gradients
            .iter()
            .map(|(_, _, gradient)| gradient.f_norm())
            .collect::<Result<Vec<_>, _>>()?;
        if norms.is_empty() {
            return Ok(());
        }
        let norm = f64::try_from(Tensor::f_stack(&norms, 0)?.f_norm()?)?;
        let cut = (LONGEST / (norm + 1e-6)).min(1.0);
        for (rate, parameter, mut gradient) in gradients {
            let mut scaled = gradient.f_mul_scalar(cut)?;
            parameter.move_by(self.rule, rate, self.decay, self.steps, &mut scaled)?;
            let _zeroed = gradient.f_zero_()?;
        }
        Ok(())
    }

    /// The state to be written down, by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = vec![(
            "steps".to_owned(),
            Tensor::from(self.steps as f32).view([1]),
        )];
        for parameter in &self.parameters {
            let Parameter {
                name,
                first,
                second,
                ..
            } = parameter;
            state.push((format!("first.{name}"), first.shallow_clone()));
            state.extend(
                second
                    .iter()
                    .map(|second| (format!("second.{name}"), second.shallow_clone())),
            );
        }
        state
    }

    /// Takes up a state that was written down.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also where a part is missing or of another shape.
    pub fn take_up(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let part = |name: String| state.get(&name).ok_or_else(|| missing(&name));
        self.steps = f64::try_from(part("steps".to_owned())?.f_to_kind(Kind::Double)?)? as i64;
        for parameter in &mut self.parameters {
            parameter
                .first
                .f_copy_(part(format!("first.{}", parameter.name))?)?;
            if let Some(second) = &mut parameter.second {
                second.f_copy_(part(format!("second.{}", parameter.name))?)?;
            }
        }
        Ok(())
    }
}

impl Parameter {
    fn move_by(
        &mut self,
        rule: Rule,
        rate: f64,
        decay: f64,
        steps: i64,
        gradient: &mut Tensor,
    ) -> Result<(), ModelError> {
        let value = &mut self.value;
        match (rule, &mut self.second) {
            (Rule::Adamw, Some(second)) => {
                let _ = value.f_mul_scalar_(1.0 - rate * decay)?;
                let _ = self.first.f_lerp_(gradient, 1.0 - MOMENTUM)?;
                let square = gradient.f_square()?.f_mul_scalar(1.0 - SECOND)?;
                let _ = second.f_mul_scalar_(SECOND)?.f_add_(&square)?;
                let unbiased = |decay: f64| 1.0 - decay.powi(steps as i32);
                let scale = second
                    .f_sqrt()?
                    .f_div_scalar(unbiased(SECOND).sqrt())?
                    .f_add_scalar(EPSILON)?;
                let step = self
                    .first
                    .f_div(&scale)?
                    .f_mul_scalar(-rate / unbiased(MOMENTUM))?;
                let _ = value.f_add_(&step)?;
            }
            _ => {
                let _ = gradient.f_add_(&value.f_mul_scalar(decay)?)?;
                let _ = self.first.f_mul_scalar_(MOMENTUM)?.f_add_(gradient)?;
                let _ = value.f_sub_(&self.first.f_mul_scalar(rate)?)?;
            }
        }
        Ok(())
    }
}
