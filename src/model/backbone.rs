//! The one trait a CNN backbone stands behind, and which backbones there are.
//! Knows nothing of hash codes: an image tensor goes in, a feature comes out.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, nn};

use super::{ModelError, efficientnet_lite::EfficientNetLite};

/// How a forward pass is run.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Normalise by the batch's own statistics and update the running ones; otherwise use the running ones.
    pub train: bool,
    /// The type convolutions compute in: `Float` or `BFloat16`. Weights stay `Float` and are cast on the way.
    pub kind: Kind,
}

/// A CNN that turns images into feature vectors.
pub trait Backbone: Send {
    /// The number of entries of a feature.
    fn feature_size(&self) -> i64;

    /// Features of a batch: `[batch, 3, side, side]`, normalised, to `[batch, feature]` in `Float`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] where libtorch refuses, for lack of memory for example.
    fn features(&self, images: &Tensor, pass: Pass) -> Result<Tensor, ModelError>;

    /// Folds each batch norm into the convolution before it, for inference only: a training pass afterwards is wrong.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    fn fold(&mut self) -> Result<(), ModelError>;
}

/// Which backbone a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackboneKind {
    /// EfficientNet-Lite0: 1280-entry features, 3.4 million weights.
    EfficientnetLite0,
}

impl BackboneKind {
    /// Makes the backbone with its variables under `path`, not yet trained.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn build(self, path: &nn::Path) -> Result<Box<dyn Backbone>, ModelError> {
        match self {
            BackboneKind::EfficientnetLite0 => Ok(Box::new(EfficientNetLite::new(path)?)),
        }
    }
}
