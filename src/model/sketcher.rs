//! What sketches are made with: a linear map from the backbone's feature to a short vector, learned after both networks.
//! Knows features and vectors; neither what sketches are compared for nor how the map is learned.

use tch::{Device, Kind, Tensor, nn};

use super::ModelError;
use crate::index::Sketch;

/// A linear map from a feature to a sketch's vector.
pub struct Sketcher {
    mean: Tensor,       // [feature]
    projection: Tensor, // [feature, bytes]
}

impl Sketcher {
    /// A map of zeros with its variables under `path`, to be [set](Self::set) or filled from a checkpoint.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(path: &nn::Path, feature: i64, bytes: usize) -> Result<Self, ModelError> {
        Ok(Sketcher {
            mean: path.f_zeros_no_train("mean", &[feature])?,
            projection: path.f_zeros_no_train("projection", &[feature, bytes as i64])?,
        })
    }

    /// Sets what is subtracted from a feature, `[feature]`, and what it is then multiplied by, `[feature, bytes]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], for other shapes too.
    pub fn set(&self, mean: &Tensor, projection: &Tensor) -> Result<(), ModelError> {
        tch::no_grad(|| {
            self.mean.shallow_clone().f_copy_(mean)?;
            self.projection.shallow_clone().f_copy_(projection)?;
            Ok(())
        })
    }

    /// Features `[batch, feature]` to vectors `[batch, bytes]`.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn vectors(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        Ok(features.f_sub(&self.mean)?.f_matmul(&self.projection)?)
    }

    /// Sketches of features `[batch, feature]`, one an image.
    ///
    /// # Errors
    /// [`ModelError::Tensor`], [`ModelError::Sketch`].
    pub fn sketches(&self, features: &Tensor) -> Result<Vec<Sketch>, ModelError> {
        let vectors = self.vectors(features)?;
        let vectors = vectors.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
        let (images, bytes) = vectors.size2()?;
        let mut values = vec![0f32; (images * bytes) as usize];
        let count = values.len();
        vectors.f_contiguous()?.f_copy_data(&mut values, count)?;
        let each = values.chunks(bytes as usize).map(Sketch::of);
        Ok(each.collect::<Result<_, _>>()?)
    }
}
