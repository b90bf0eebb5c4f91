//! The environment of the paper's Figure 4, which prepares image features and hash centre
//! representations for the agent. For each bit, it computes a value from the feature and the
//! feature's class probabilities. The sign of this value is the wanted bit. `train::unlabelled`
//! learns the map.

use tch::{Kind, Tensor, nn};

use crate::{card::Card, error::ModelError};

/// A classifier of features, and a linear map from observations to wanted values.
pub struct Environment {
    weight: Tensor, // [classes, feature]
    bias: Tensor,   // [classes]
    mean: Tensor,   // [feature + classes]
    map: Tensor,    // [heads, feature + classes, bits], 0 past a head's length
}

impl Environment {
    /// Builds an environment for the card's lengths with `classes` classes. Its variables are under
    /// `path`. Gradients train none of them.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(
        path: &nn::Path,
        feature: i64,
        classes: i64,
        card: &Card,
    ) -> Result<Self, ModelError> {
        let longest = card.lengths.iter().map(|length| length.bits()).max();
        let (heads, bits) = (card.lengths.len() as i64, longest.unwrap_or(0) as i64);
        let observed = feature + classes;
        Ok(Environment {
            weight: path.f_zeros_no_train("weight", &[classes, feature])?,
            bias: path.f_zeros_no_train("bias", &[classes])?,
            mean: path.f_zeros_no_train("mean", &[observed])?,
            map: path.f_zeros_no_train("map", &[heads, observed, bits])?,
        })
    }

    /// Sets the classifier: weight `[classes, feature]` and bias `[classes]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also for wrong shapes.
    pub fn set_classifier(&self, weight: &Tensor, bias: &Tensor) -> Result<(), ModelError> {
        tch::no_grad(|| {
            self.weight.shallow_clone().f_copy_(weight)?;
            self.bias.shallow_clone().f_copy_(bias)?;
            Ok(())
        })
    }

    /// Copies the classifier of another environment.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also if the number of classes or the feature differs.
    pub fn copy_classifier(&self, other: &Environment) -> Result<(), ModelError> {
        self.set_classifier(&other.weight, &other.bias)
    }

    /// Sets the map. `mean`, `[feature + classes]`, is the mean of observations, which is
    /// subtracted. `heads` has one matrix per head, `[feature + classes, bits]`, by which the
    /// difference is multiplied.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also for wrong shapes.
    pub fn set_map(&self, mean: &Tensor, heads: &[Tensor]) -> Result<(), ModelError> {
        tch::no_grad(|| {
            self.mean.shallow_clone().f_copy_(mean)?;
            for (head, map) in heads.iter().enumerate() {
                let own = self.map.f_get(head as i64)?;
                own.f_narrow(1, 0, map.size2()?.1)?.f_copy_(map)?;
            }
            Ok(())
        })
    }

    /// Returns the observations: the feature, and the square roots of the class probabilities. Maps
    /// `[batch, feature]` to `[batch, feature + classes]`. The differences of the roots are a
    /// distance between distributions (Hellinger's).
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn observed(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let classes = self.bias.f_addmm(features, &self.weight.f_tr()?)?;
        let roots = classes.f_softmax(1, Kind::Float)?.f_sqrt()?;
        Ok(Tensor::f_cat(&[features, &roots], 1)?)
    }

    /// Returns the wanted values: `[batch, feature]` to `[heads, batch, bits]`. The sign of a value
    /// is the wanted bit. Its size, 1 on average, is the certainty of the bit.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn wanted(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let observed = self.observed(features)?.f_sub(&self.mean)?;
        Ok(observed.f_unsqueeze(0)?.f_matmul(&self.map)?)
    }
}
