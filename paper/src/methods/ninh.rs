//! NINH (Lai et al., CVPR 2015): of three images, the two similar ones must be nearer by a margin,
//! on outputs between 0 and 1.

use scihcgrl_model::{
    ModelError,
    train::objective::{Batch, Objective, Step},
};

use super::pairs::{distances, hinges, mean_over};

/// The margin, in bits.
const MARGIN: f64 = 1.0;

/// The objective.
pub struct Ninh;

impl Objective for Ninh {
    fn name(&self) -> &'static str {
        "ninh"
    }

    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let codes = batch.logits()?.f_mul_scalar(2.0)?.f_sigmoid()?;
        let distances = distances(&codes.f_mul(&batch.mask()?)?)?;
        let (hinge, mask) = hinges(&distances, batch.similar, MARGIN)?;
        batch.with_reward(mean_over(&hinge, &mask)?)
    }

    fn has_centers(&self) -> bool {
        false
    }
}
