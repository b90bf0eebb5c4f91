//! What the agent's state has beside the feature (the paper's Figure 4: the environment prepares image features and hash centre
//! representations): the centroid of the centres of the classes that a classifier sees in the image, as sure as it is of each.
//! Knows a classifier and centres; neither policies nor what is done with the centroid.

use tch::{Kind, Tensor, nn};

use super::{Card, ModelError};

/// A classifier of features, and each class's hash centres.
pub struct Environment {
    weight: Tensor,  // [classes, feature]
    bias: Tensor,    // [classes]
    centers: Tensor, // [heads, classes, bits], 0 past a head's length
}

impl Environment {
    /// Makes one of the card's classes and lengths with its variables under `path`, none of which is trained.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(path: &nn::Path, feature: i64, card: &Card) -> Result<Self, ModelError> {
        let (heads, classes) = (card.lengths.len() as i64, card.classes.len() as i64);
        let longest = card.lengths.iter().map(|length| length.bits()).max();
        let bits = longest.unwrap_or(0) as i64;
        Ok(Environment {
            weight: path.f_zeros_no_train("weight", &[classes, feature])?,
            bias: path.f_zeros_no_train("bias", &[classes])?,
            centers: path.f_zeros_no_train("centers", &[heads, classes, bits])?,
        })
    }

    /// Sets the classifier, weight `[classes, feature]` and bias `[classes]`, and each head's centres with how sure their bits are,
    /// `[classes, bits]` each.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], for other shapes too.
    pub fn set(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        centers: &[Tensor],
    ) -> Result<(), ModelError> {
        tch::no_grad(|| {
            self.weight.shallow_clone().f_copy_(weight)?;
            self.bias.shallow_clone().f_copy_(bias)?;
            for (head, centers) in centers.iter().enumerate() {
                let own = self.centers.f_get(head as i64)?;
                own.f_narrow(1, 0, centers.size2()?.1)?.f_copy_(centers)?;
            }
            Ok(())
        })
    }

    /// Σ p_c·c_c over the classes, p being the classifier's probabilities: features `[batch, feature]` to `[heads, batch, bits]`.
    /// Its signs are a code, its sizes say how sure each bit is.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn centroid(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let seen = self.bias.f_addmm(features, &self.weight.f_tr()?)?;
        let seen = seen.f_softmax(1, Kind::Float)?; // [batch, classes]
        Ok(seen.f_unsqueeze(0)?.f_matmul(&self.centers)?)
    }
}
