//! The trait of convolutional backbones: images in, features out.

use tch::{Kind, Tensor};

use crate::error::ModelError;

/// The name and shape of each tensor of a network, in any order.
pub type Shapes = Vec<(String, Vec<i64>)>;

/// The mode and number type of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// If true, applies dropout, normalises by the batch's own statistics and updates the running
    /// ones. If false, uses the running statistics.
    pub train: bool,
    /// The type in which convolutions compute: `Float` or `BFloat16`. Trained weights stay `Float`
    /// and are cast in each pass.
    pub kind: Kind,
}

/// A convolutional network that turns images into features.
pub trait Backbone: Send {
    /// Returns the number of entries of a feature.
    fn feature_size(&self) -> i64;

    /// Computes features of normalised images: `[batch, 3, side, side]` to `[batch, feature]` in
    /// `Float`. The side is at least 32.
    ///
    /// # Errors
    /// [`ModelError::Tensor`] if libtorch fails, for lack of memory for example.
    fn features(&self, images: &Tensor, pass: Pass) -> Result<Tensor, ModelError>;

    /// Folds each batch norm into the convolution before it, and casts all weights to `kind`.
    /// Afterwards only inference in this type on images of this side is correct.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    fn fold(&mut self, side: u32, kind: Kind) -> Result<(), ModelError>;
}

/// Converts images or kernels to a type and to the channels-last layout, which is fast in oneDNN
/// and cuDNN. tch has no memory formats, but keeps strides.
pub(crate) fn channels_last(images: &Tensor, kind: Kind) -> Result<Tensor, ModelError> {
    Ok(images
        .f_to_kind(kind)?
        .f_permute([0, 2, 3, 1])?
        .f_contiguous()?
        .f_permute([0, 3, 1, 2])?)
}
