//! The available backbones: how to build each, its tensors, and the format of its published
//! weights.

use std::fmt;

use tch::nn;

use crate::{
    error::ModelError,
    network::{
        backbone::{Backbone, Shapes},
        efficientnet_lite::{self, EfficientNetLite},
        vgg::{self, Vgg19},
    },
    options::BackboneKind,
};

impl BackboneKind {
    /// All backbones.
    pub const ALL: [BackboneKind; 2] = [BackboneKind::EfficientnetLite0, BackboneKind::Vgg19];

    /// Builds the backbone with untrained variables under `path`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn build(self, path: &nn::Path) -> Result<Box<dyn Backbone>, ModelError> {
        match self {
            BackboneKind::EfficientnetLite0 => Ok(Box::new(EfficientNetLite::new(path)?)),
            BackboneKind::Vgg19 => Ok(Box::new(Vgg19::new(path)?)),
        }
    }

    /// Returns the size of its feature and its tensors, without building it.
    pub fn shapes(self) -> (i64, Shapes) {
        match self {
            BackboneKind::EfficientnetLite0 => {
                (efficientnet_lite::FEATURE_SIZE, efficientnet_lite::shapes())
            }
            BackboneKind::Vgg19 => (vgg::FEATURE_SIZE, vgg::shapes()),
        }
    }

    /// Returns the normalisation with which its published weights were trained: the mean and
    /// deviation of each channel (R, G, B) of pixels scaled to 0…1.
    pub fn normalisation(self) -> ([f32; 3], [f32; 3]) {
        match self {
            // (x − 127) / 128.
            BackboneKind::EfficientnetLite0 => ([127.0 / 255.0; 3], [128.0 / 255.0; 3]),
            BackboneKind::Vgg19 => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        }
    }

    /// Returns the names of the weight and bias of ImageNet's classifier in its published weights.
    /// The classifier is not part of the backbone.
    pub fn classifier(self) -> [&'static str; 2] {
        match self {
            BackboneKind::EfficientnetLite0 => ["_fc.weight", "_fc.bias"],
            BackboneKind::Vgg19 => ["classifier.6.weight", "classifier.6.bias"],
        }
    }
}

/// Writes the name for messages.
impl fmt::Display for BackboneKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            BackboneKind::EfficientnetLite0 => "EfficientNet-Lite0",
            BackboneKind::Vgg19 => "VGG-19",
        })
    }
}
