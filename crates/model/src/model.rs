//! The SCIHCGRL model: a CNN backbone whose feature feeds a recurrent policy per code length.
//! Owns tensors, their files and the forward pass; knows nothing of indexes, requests or how it is trained.

pub mod backbone;
pub mod centers;
pub mod checkpoint;
mod cuda;
mod device;
mod efficientnet_lite;
mod environment;
mod hasher;
mod policy;
mod sketcher;
mod vgg;

use std::path::PathBuf;

use tch::{Device, Kind, Tensor, nn};

pub use backbone::Pass;
use backbone::{Backbone, BackboneKind};
pub use checkpoint::{Card, Relation, Thresholds};
pub use device::{device, devices, is_cpu, kind, preferred, resolved};
pub use environment::Environment;
pub use hasher::{Hasher, Output, codes};
pub use policy::{Choice, Policy, Unrolled};
use scihcgrl_index::IndexError;
pub use sketcher::{Sketcher, TONES};

/// What can go wrong with a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// libtorch refused an operation.
    #[error("libtorch: {source}")]
    Tensor {
        /// What libtorch said, in one line.
        source: tch::TchError,
    },
    /// A model file cannot be read or written.
    #[error("model file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is there, but is not what it should be.
    #[error("{} is not a usable model file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// More classes than there are hash centres half the bits apart, or none.
    #[error("{found} classes; hash centres at this length exist for 1 to {most}")]
    Classes {
        /// How many were asked for.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// An image that was not resized to the model's input.
    #[error("an image of side {found}; this model takes {expected}")]
    Side {
        /// The image's side, pixels.
        found: u32,
        /// The model's, pixels.
        expected: u32,
    },
    /// A vector that is no sketch.
    #[error(transparent)]
    Sketch {
        /// Why not.
        #[from]
        source: IndexError,
    },
    /// A device that is not there.
    #[error("device '{found}': {reason}")]
    Device {
        /// What was asked for.
        found: String,
        /// Why it cannot be had, and what can.
        reason: String,
    },
}

impl From<tch::TchError> for ModelError {
    /// Leaves out where in libtorch it was, dozens of lines.
    fn from(source: tch::TchError) -> Self {
        let source = match source {
            tch::TchError::Torch(said) => {
                let words = said.split("Exception raised from").next();
                let words = words.unwrap_or_default().lines().map(str::trim);
                let words: Vec<_> = words.filter(|line| !line.is_empty()).collect();
                tch::TchError::Torch(words.join(" "))
            }
            other => other,
        };
        ModelError::Tensor { source }
    }
}

/// Both networks with their variables, to be trained or to infer.
pub struct Network {
    /// Every variable by name: `backbone.…` in learning-rate group 0, `policy.…` in group 1; `classifier.…` and `sketch.…` learn by no
    /// gradient.
    pub variables: nn::VarStore,
    /// The policies.
    pub policy: Policy,
    /// What makes sketches, if the model makes any.
    pub sketcher: Option<Sketcher>,
    kind: BackboneKind,
    backbone: Box<dyn Backbone>,
    mean: Tensor,      // [3, 1, 1]
    deviation: Tensor, // [3, 1, 1]
}

impl Network {
    /// A network of the card's architecture with random weights, reproducible after `tch::manual_seed`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(card: &Card, device: Device) -> Result<Self, ModelError> {
        let variables = nn::VarStore::new(device);
        let root = variables.root();
        let backbone = card.backbone.build(&(&root / "backbone").set_group(0))?;
        let path = (&root / "policy").set_group(1);
        let feature = backbone.feature_size();
        let environment = card
            .policy
            .classifier
            .map(|classes| Environment::new(&(&root / "classifier"), feature, classes, card));
        let environment = environment.transpose()?;
        let policy = Policy::new(&path, feature, &card.policy, &card.lengths, environment)?;
        let sketcher = card
            .sketch
            .map(|bytes| Sketcher::new(&(&root / "sketch"), feature, bytes));
        let channels = |values: &[f32; 3]| -> Result<Tensor, ModelError> {
            Ok(Tensor::f_from_slice(values)?
                .f_view([3, 1, 1])?
                .f_to_device(device)?)
        };
        Ok(Network {
            policy,
            sketcher: sketcher.transpose()?,
            kind: card.backbone,
            backbone,
            mean: channels(&card.mean)?,
            deviation: channels(&card.deviation)?,
            variables,
        })
    }

    /// Puts images, each `side` × `side` × 3 bytes, on the device: `[batch, 3, side, side]`, `Uint8`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn upload(&self, rgb: &[u8], side: u32) -> Result<Tensor, ModelError> {
        let side = i64::from(side);
        let images = rgb.len() as i64 / (3 * side * side).max(1);
        let images = Tensor::f_from_data_size(rgb, &[images, side, side, 3], Kind::Uint8)?;
        let images = images.f_to_device(self.variables.device())?;
        Ok(images.f_permute([0, 3, 1, 2])?)
    }

    /// Features of images in 0…255: `[batch, 3, side, side]` of any type to `[batch, feature]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn features(&self, images: &Tensor, pass: Pass) -> Result<Tensor, ModelError> {
        let mut images = images.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?;
        let _ = images.f_sub_(&self.mean)?;
        let _ = images.f_div_(&self.deviation)?;
        self.backbone.features(&images, pass)
    }

    /// Folds what only training needs, to compute in `kind` on images of a side.
    fn fold(&mut self, side: u32, kind: Kind) -> Result<(), ModelError> {
        self.variables.freeze();
        self.backbone.fold(side, kind)?;
        self.policy.fold()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libtorch_says_is_one_line() {
        let error = Tensor::from_slice(&[1.0f32]).f_view([2]).unwrap_err();
        assert!(error.to_string().contains("frame #0"), "{error}");
        let words = ModelError::from(error).to_string();
        assert_eq!(words.lines().count(), 1, "{words}");
        assert!(words.contains("invalid for input of size 1"), "{words}");
    }
}
