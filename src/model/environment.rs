//! What the agent's state has beside the feature (the paper's Figure 4: the environment prepares image features and hash centre
//! representations): the centroid of the centres of the classes that a classifier sees in the image, as sure as it is of each.
//! Knows a classifier and centres; neither policies nor what is done with the centroid.

use tch::{Kind, Tensor, nn};

use super::{Card, ModelError};

/// A classifier of features, and each class's hash centres.
pub struct Environment {
    weight: Tensor,  // [classes, feature]
    bias: Tensor,    // [classes]
    centers: Tensor, // [heads, classes, bits], −1 or 1, 0 past a head's length
}

impl Environment {
    /// Makes one of the card's classes and centres with its classifier under `path`, which is not trained.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(path: &nn::Path, feature: i64, card: &Card) -> Result<Self, ModelError> {
        let classes = card.classes.len() as i64;
        let bits = card
            .lengths
            .iter()
            .map(|length| length.bits())
            .max()
            .unwrap_or(0);
        let mut values = Vec::new();
        for center in card
            .lengths
            .iter()
            .filter_map(|length| card.centers.get(length))
            .flatten()
        {
            let signs = center
                .bits()
                .iter()
                .map(|bit| if *bit { 1.0f32 } else { -1.0 });
            values.extend(signs.chain(std::iter::repeat(0.0)).take(bits));
        }
        Ok(Environment {
            weight: path.f_zeros_no_train("weight", &[classes, feature])?,
            bias: path.f_zeros_no_train("bias", &[classes])?,
            centers: Tensor::f_from_slice(&values)?
                .f_view([card.lengths.len() as i64, classes, bits as i64])?
                .f_to_device(path.device())?,
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

    /// Σ p_c·c_c over the classes, p being the classifier's probabilities: features `[batch, feature]` to `[heads, batch, bits]`, −1…1.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn centroid(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let seen = self.bias.f_addmm(features, &self.weight.f_tr()?)?;
        let seen = seen.f_softmax(1, Kind::Float)?; // [batch, classes]
        Ok(seen.f_unsqueeze(0)?.f_matmul(&self.centers)?)
    }
}
