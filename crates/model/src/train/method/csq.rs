//! CSQ (Yuan et al., CVPR 2020): cross-entropy to the hash centre, and a term that draws action values to ±1.
//! Nothing is sampled. Its own network has independent heads (`--cell independent`).

use tch::{Kind, Reduction, Tensor};

use super::{Batch, Method, Step};
use crate::{model::ModelError, options::Train};

/// The objective; `quantization` is the weight of the second term.
pub struct Csq {
    quantization: f64,
}

impl From<&Train> for Csq {
    fn from(config: &Train) -> Self {
        Csq {
            quantization: config.quantization_weight,
        }
    }
}

impl Csq {
    /// The first term alone.
    pub fn without_quantization() -> Self {
        Csq { quantization: 0.0 }
    }
}

impl Method for Csq {
    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let z = batch.logits()?;
        let central = z
            .f_mul_scalar(2.0)?
            .f_binary_cross_entropy_with_logits::<Tensor>(
                batch.targets,
                None,
                None,
                Reduction::None,
            )?;
        let loss = central.f_add(&quantization(&z)?.f_mul_scalar(self.quantization)?)?;
        let images = z.size3()?.1 as f64;
        let loss = loss.f_mul(batch.share)?.f_sum(Kind::Float)?;
        batch.watched(loss.f_div_scalar(images)?)
    }
}

/// How far action values tanh z stand from ±1, squared, of the shape of z.
pub(in crate::train) fn quantization(z: &Tensor) -> Result<Tensor, ModelError> {
    Ok(z.f_tanh()?.f_abs()?.f_add_scalar(-1.0)?.f_square()?)
}
