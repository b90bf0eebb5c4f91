//! What the agent's state has beside the feature (the paper's Figure 4: the environment prepares image features and hash centre
//! representations): for each bit a value whose sign is wanted, by what the backbone and a classifier see in the image.
//! Knows a classifier and a linear map; neither how the map is learned nor what policies make of its values.

use tch::{Kind, Tensor, nn};

use super::{Card, ModelError};

/// A classifier of features, and the map from what is seen to wanted values.
pub struct Environment {
    weight: Tensor, // [classes, feature]
    bias: Tensor,   // [classes]
    mean: Tensor,   // [feature + classes]
    map: Tensor,    // [heads, feature + classes, bits], 0 past a head's length
}

impl Environment {
    /// Makes one for the card's lengths and as many classes as its policy names, with its variables under `path`, none of which is trained.
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
        let seen = feature + classes;
        Ok(Environment {
            weight: path.f_zeros_no_train("weight", &[classes, feature])?,
            bias: path.f_zeros_no_train("bias", &[classes])?,
            mean: path.f_zeros_no_train("mean", &[seen])?,
            map: path.f_zeros_no_train("map", &[heads, seen, bits])?,
        })
    }

    /// Sets the classifier: weight `[classes, feature]` and bias `[classes]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], for other shapes too.
    pub fn set_classifier(&self, weight: &Tensor, bias: &Tensor) -> Result<(), ModelError> {
        tch::no_grad(|| {
            self.weight.shallow_clone().f_copy_(weight)?;
            self.bias.shallow_clone().f_copy_(bias)?;
            Ok(())
        })
    }

    /// Takes another's classifier.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], also if it is of other classes or features.
    pub fn take_classifier(&self, other: &Environment) -> Result<(), ModelError> {
        self.set_classifier(&other.weight, &other.bias)
    }

    /// Sets what is subtracted from what is seen, `[feature + classes]`, and what it is then multiplied by: for each head
    /// `[feature + classes, bits]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], for other shapes too.
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

    /// What is seen: the feature, and the square roots of the classes' probabilities. `[batch, feature]` to
    /// `[batch, feature + classes]`. Roots, because their differences are a distance between distributions (Hellinger's).
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn seen(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let classes = self.bias.f_addmm(features, &self.weight.f_tr()?)?;
        let roots = classes.f_softmax(1, Kind::Float)?.f_sqrt()?;
        Ok(Tensor::f_cat(&[features, &roots], 1)?)
    }

    /// The values whose signs are wanted: `[batch, feature]` to `[heads, batch, bits]`. Their sizes, 1 in the mean, say how clear each bit
    /// is.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn wanted(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let seen = self.seen(features)?.f_sub(&self.mean)?;
        Ok(seen.f_unsqueeze(0)?.f_matmul(&self.map)?)
    }
}
