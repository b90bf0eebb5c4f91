//! A moving average of a network's weights: smoother than the last step's, and mostly better at retrieval.
//! Knows variables; neither how they are moved nor what they are measured by.

use std::collections::BTreeMap;

use tch::{Tensor, nn::VarStore};

use super::resume::missing;
use crate::model::ModelError;

/// The average of every variable, the batch norms' statistics included.
pub struct Average {
    keep: f64,
    steps: i32,
    means: BTreeMap<String, Tensor>,
}

impl Average {
    /// Starts with the variables as they are; `keep` is the share of the old, 0…1. At 0 there is nothing to average.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn start(variables: &VarStore, keep: f64) -> Result<Option<Self>, ModelError> {
        if keep == 0.0 {
            return Ok(None);
        }
        let means = variables
            .variables()
            .into_iter()
            .map(|(name, value)| Ok((name, value.f_detach()?.f_alias_copy()?)))
            .collect::<Result<_, ModelError>>()?;
        Ok(Some(Average {
            keep,
            steps: 0,
            means,
        }))
    }

    /// Takes in the variables as they are now. At first less is kept, so that the start is soon forgotten.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn take(&mut self, variables: &VarStore) -> Result<(), ModelError> {
        self.steps += 1;
        let steps = f64::from(self.steps);
        let keep = self.keep.min(steps / (10.0 + steps));
        tch::no_grad(|| {
            for (name, value) in variables.variables() {
                if let Some(mean) = self.means.get_mut(&name) {
                    let _ = mean.f_lerp_(&value, 1.0 - keep)?;
                }
            }
            Ok(())
        })
    }

    /// Exchanges the average and the variables; a second time puts both back.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn exchange(&mut self, variables: &VarStore) -> Result<(), ModelError> {
        tch::no_grad(|| {
            for (name, mut value) in variables.variables() {
                if let Some(mean) = self.means.get_mut(&name) {
                    let kept = value.f_detach()?.f_alias_copy()?;
                    value.f_copy_(mean)?;
                    mean.f_copy_(&kept)?;
                }
            }
            Ok(())
        })
    }

    /// The state to be written down, by name.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let steps = Tensor::from(self.steps as f32).view([1]);
        let means = self.means.iter();
        let means = means.map(|(name, mean)| (format!("mean.{name}"), mean.shallow_clone()));
        means.chain([("averaged".to_owned(), steps)]).collect()
    }

    /// Takes up a state that was written down.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also where a part is missing or of another shape.
    pub fn take_up(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let part = |name: &str| state.get(name).ok_or_else(|| missing(name));
        self.steps = f64::try_from(part("averaged")?.f_to_kind(tch::Kind::Double)?)? as i32;
        for (name, mean) in &mut self.means {
            mean.f_copy_(part(&format!("mean.{name}"))?)?;
        }
        Ok(())
    }
}
