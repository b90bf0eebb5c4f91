//! CSQ (Yuan et al., CVPR 2020): cross-entropy to the hash centre, and a term that pulls action
//! values to ±1. Nothing is sampled. Its own network has independent heads (`--cell independent`).

use scihcgrl_model::{
    ModelError,
    options::Train,
    train::objective::{Batch, Objective, Step, quantization},
};
use tch::{Kind, Reduction, Tensor};

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

impl Objective for Csq {
    fn name(&self) -> &'static str {
        "csq"
    }

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
        batch.with_reward(loss.f_div_scalar(images)?)
    }
}
