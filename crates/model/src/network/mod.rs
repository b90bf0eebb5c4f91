//! The network: a convolutional backbone whose feature feeds one policy per code length.
//!
//! - `backbone`: the trait of backbones
//! - `backbones`: builds them
//! - `vgg`, `efficientnet_lite`: the two backbones
//! - `policy`: turns features into bits
//! - `environment`: gives the policy wanted values
//! - `sketcher`: turns features into sketches

pub mod backbone;
pub mod backbones;
mod efficientnet_lite;
pub mod environment;
pub mod policy;
pub mod sketcher;
mod vgg;

use tch::{Device, Kind, Tensor, nn};

use crate::{card::Card, error::ModelError, options::BackboneKind};

use backbone::{Backbone, Pass};
use environment::Environment;
use policy::Policy;
use sketcher::Sketcher;

/// The backbone and the policies with their variables, for training or inference.
pub struct Network {
    /// Every variable by name: `backbone.…` in learning-rate group 0, `policy.…` in group 1.
    /// `classifier.…` and `sketch.…` are not trained by gradients.
    pub variables: nn::VarStore,
    /// The policies.
    pub policy: Policy,
    /// The sketcher, if the model makes sketches.
    pub sketcher: Option<Sketcher>,
    pub(crate) kind: BackboneKind,
    backbone: Box<dyn Backbone>,
    mean: Tensor,      // [3, 1, 1]
    deviation: Tensor, // [3, 1, 1]
}

impl Network {
    /// Builds a network of the card's architecture with random weights. They are reproducible after
    /// `tch::manual_seed`.
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

    /// Uploads images, each `side` × `side` × 3 bytes, to the device: `[batch, 3, side, side]`,
    /// `Uint8`.
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

    /// Computes features of images in 0…255: `[batch, 3, side, side]` of any type to `[batch,
    /// feature]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn features(&self, images: &Tensor, pass: Pass) -> Result<Tensor, ModelError> {
        let mut images = images.f_to_kind(Kind::Float)?.f_div_scalar(255.0)?;
        let _ = images.f_sub_(&self.mean)?;
        let _ = images.f_div_(&self.deviation)?;
        self.backbone.features(&images, pass)
    }

    /// Folds the layers that only training needs, for inference in `kind` on images of this side.
    pub(crate) fn fold(&mut self, side: u32, kind: Kind) -> Result<(), ModelError> {
        self.variables.freeze();
        self.backbone.fold(side, kind)?;
        self.policy.fold()
    }
}
