//! A moving average of a network's weights. It is smoother than the weights of the last step, and
//! usually better at retrieval.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::{
    error::ModelError,
    train::{optimizer::flat::FlatVariables, resume::missing_tensor},
};

/// The average of every variable, including the statistics of the batch norms.
pub(crate) struct Average<'a> {
    decay: f64,
    steps: i32,
    flat: &'a FlatVariables,
    means: Tensor, // [entries]
}

impl<'a> Average<'a> {
    /// Starts with the current variables. `decay`, 0…1, is the share of the old average in each
    /// update. Returns `None` if it is 0.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(flat: &'a FlatVariables, decay: f64) -> Result<Option<Self>, ModelError> {
        if decay == 0.0 {
            return Ok(None);
        }
        Ok(Some(Average {
            decay,
            steps: 0,
            means: flat.values.f_alias_copy()?,
            flat,
        }))
    }

    /// Adds the current variables to the average. The share of the old average is smaller at first,
    /// so that the start is soon forgotten.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn update(&mut self) -> Result<(), ModelError> {
        self.steps += 1;
        let steps = f64::from(self.steps);
        let decay = self.decay.min(steps / (10.0 + steps));
        let _ = self.means.f_lerp_(&self.flat.values, 1.0 - decay)?;
        Ok(())
    }

    /// Swaps the average and the variables. A second call swaps them back.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn swap(&mut self) -> Result<(), ModelError> {
        let mut values = self.flat.values.shallow_clone();
        let kept = values.f_alias_copy()?;
        values.f_copy_(&self.means)?;
        self.means = kept;
        Ok(())
    }

    /// Returns the state to save, by name.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn state(&self) -> Result<Vec<(String, Tensor)>, ModelError> {
        let steps = Tensor::from(self.steps as f32).view([1]);
        let means = self.flat.views(&self.means)?.into_iter();
        let means = means.map(|(name, mean)| (format!("mean.{name}"), mean));
        Ok(means.chain([("averaged".to_owned(), steps)]).collect())
    }

    /// Restores a saved state.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also if a part is missing or of another shape.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let part = |name: &str| state.get(name).ok_or_else(|| missing_tensor(name));
        self.steps = f64::try_from(part("averaged")?.f_to_kind(tch::Kind::Double)?)? as i32;
        for (name, mut mean) in self.flat.views(&self.means)? {
            mean.f_copy_(part(&format!("mean.{name}"))?)?;
        }
        Ok(())
    }
}
