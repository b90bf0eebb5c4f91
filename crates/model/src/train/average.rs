//! A moving average of a network's weights: smoother than the last step's, and mostly better at retrieval.
//! Knows variables; neither how they are moved nor what they are measured by.

use std::collections::BTreeMap;

use tch::Tensor;

use super::{flat::Flat, resume::missing};
use crate::model::ModelError;

/// The average of every variable, the batch norms' statistics included.
pub(super) struct Average<'a> {
    keep: f64,
    steps: i32,
    flat: &'a Flat,
    means: Tensor, // [entries]
}

impl<'a> Average<'a> {
    /// Starts with the variables as they are; `keep` is the share of the old, 0…1. At 0 there is nothing to average.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn start(flat: &'a Flat, keep: f64) -> Result<Option<Self>, ModelError> {
        if keep == 0.0 {
            return Ok(None);
        }
        Ok(Some(Average {
            keep,
            steps: 0,
            means: flat.values.f_alias_copy()?,
            flat,
        }))
    }

    /// Takes in the variables as they are now. At first less is kept, so that the start is soon forgotten.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn take(&mut self) -> Result<(), ModelError> {
        self.steps += 1;
        let steps = f64::from(self.steps);
        let keep = self.keep.min(steps / (10.0 + steps));
        let _ = self.means.f_lerp_(&self.flat.values, 1.0 - keep)?;
        Ok(())
    }

    /// Exchanges the average and the variables; a second time puts both back.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn exchange(&mut self) -> Result<(), ModelError> {
        let mut values = self.flat.values.shallow_clone();
        let kept = values.f_alias_copy()?;
        values.f_copy_(&self.means)?;
        self.means = kept;
        Ok(())
    }

    /// The state to be written down, by name.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn state(&self) -> Result<Vec<(String, Tensor)>, ModelError> {
        let steps = Tensor::from(self.steps as f32).view([1]);
        let means = self.flat.parts(&self.means)?.into_iter();
        let means = means.map(|(name, mean)| (format!("mean.{name}"), mean));
        Ok(means.chain([("averaged".to_owned(), steps)]).collect())
    }

    /// Takes up a state that was written down.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also where a part is missing or of another shape.
    pub fn take_up(&mut self, state: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
        let part = |name: &str| state.get(name).ok_or_else(|| missing(name));
        self.steps = f64::try_from(part("averaged")?.f_to_kind(tch::Kind::Double)?)? as i32;
        for (name, mut mean) in self.flat.parts(&self.means)? {
            mean.f_copy_(part(&format!("mean.{name}"))?)?;
        }
        Ok(())
    }
}
