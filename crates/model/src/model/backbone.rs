//! The one trait a CNN backbone stands behind, and which backbones there are.
//! Knows nothing of hash codes: an image tensor goes in, a feature comes out.

use std::fmt;

use tch::{Kind, Tensor, nn};

pub use crate::options::BackboneKind;

use super::{
    ModelError,
    efficientnet_lite::{self, EfficientNetLite},
    vgg::{self, Vgg19},
};

/// The name and shape of each tensor of a network, in no order.
pub type Shapes = Vec<(String, Vec<i64>)>;

/// How a forward pass is run.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Drop out, normalise by the batch's own statistics and update the running ones; otherwise use the running ones.
    pub train: bool,
    /// The type convolutions compute in: `Float` or `BFloat16`. Weights that are trained stay `Float` and are cast on the way.
    pub kind: Kind,
}

/// A CNN that turns images into feature vectors.
pub trait Backbone: Send {
    /// The number of entries of a feature.
    fn feature_size(&self) -> i64;

    /// Features of a batch: `[batch, 3, side, side]`, normalised, to `[batch, feature]` in `Float`. The side is at least 32.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] where libtorch refuses, for lack of memory for example.
    fn features(&self, images: &Tensor, pass: Pass) -> Result<Tensor, ModelError>;

    /// Folds each batch norm into the convolution before it and casts all weights to `kind`, for inference only, in it and on images of
    /// this side: any other pass afterwards is wrong.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    fn fold(&mut self, side: u32, kind: Kind) -> Result<(), ModelError>;
}

impl BackboneKind {
    /// All of them.
    pub const ALL: [BackboneKind; 2] = [BackboneKind::EfficientnetLite0, BackboneKind::Vgg19];

    /// Makes the backbone with its variables under `path`, not yet trained.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn build(self, path: &nn::Path) -> Result<Box<dyn Backbone>, ModelError> {
        match self {
            BackboneKind::EfficientnetLite0 => Ok(Box::new(EfficientNetLite::new(path)?)),
            BackboneKind::Vgg19 => Ok(Box::new(Vgg19::new(path)?)),
        }
    }

    /// The number of entries of its feature, and its tensors, without building it.
    pub fn shapes(self) -> (i64, Shapes) {
        match self {
            BackboneKind::EfficientnetLite0 => {
                (efficientnet_lite::FEATURE, efficientnet_lite::shapes())
            }
            BackboneKind::Vgg19 => (vgg::FEATURE, vgg::shapes()),
        }
    }

    /// What its published weights were trained on: the mean and deviation of each channel (R, G, B) of pixels scaled to 0…1.
    pub fn normalisation(self) -> ([f32; 3], [f32; 3]) {
        match self {
            // (x − 127) / 128.
            BackboneKind::EfficientnetLite0 => ([127.0 / 255.0; 3], [128.0 / 255.0; 3]),
            BackboneKind::Vgg19 => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        }
    }

    /// Weight and bias of the last layer of its published weights, ImageNet's classifier, which is not part of the backbone.
    pub fn classifier(self) -> [&'static str; 2] {
        match self {
            BackboneKind::EfficientnetLite0 => ["_fc.weight", "_fc.bias"],
            BackboneKind::Vgg19 => ["classifier.6.weight", "classifier.6.bias"],
        }
    }
}

/// The name in words, for messages.
impl fmt::Display for BackboneKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            BackboneKind::EfficientnetLite0 => "EfficientNet-Lite0",
            BackboneKind::Vgg19 => "VGG-19",
        })
    }
}

/// Images or kernels in the type and the memory layout that are fast for oneDNN and cuDNN: tch has no memory formats, but strides are kept.
pub(super) fn channels_last(images: &Tensor, kind: Kind) -> Result<Tensor, ModelError> {
    Ok(images
        .f_to_kind(kind)?
        .f_permute([0, 2, 3, 1])?
        .f_contiguous()?
        .f_permute([0, 3, 1, 2])?)
}
