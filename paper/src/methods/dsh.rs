//! DSH (Liu et al., CVPR 2016): similar pairs are pulled together, dissimilar pairs are pushed
//! apart by a margin of 2K, and outputs are pulled to ±1.

use scihcgrl_model::{
    ModelError,
    train::objective::{Batch, Objective, Step},
};
use tch::Kind;

use super::pairs::{distances, mean_over};

/// The regulariser's weight in the paper.
const REGULARISER: f64 = 0.01;

/// The objective.
pub struct Dsh;

impl Objective for Dsh {
    fn name(&self) -> &'static str {
        "dsh"
    }

    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let mask = batch.mask()?;
        let z = batch.logits()?.f_mul(&mask)?;
        let bits = mask.f_sum_dim_intlist([2i64].as_slice(), true, Kind::Float)?; // [heads, 1, 1]
        let distances = distances(&z)?.f_div(&bits)?; // of 2K, the margin, remains 2
        let near = mean_over(&distances.f_mul_scalar(0.5)?, batch.similar)?;
        let unlike = batch.similar.f_neg()?.f_add_scalar(1.0)?;
        let hinge = distances.f_neg()?.f_add_scalar(2.0)?.f_clamp_min(0.0)?;
        let far = mean_over(&hinge.f_mul_scalar(0.5)?, &unlike)?;
        let strayed = z.f_abs()?.f_add_scalar(-1.0)?.f_abs()?.f_mul(batch.share)?;
        let images = z.size3()?.1 as f64;
        let strayed = strayed
            .f_sum(Kind::Float)?
            .f_mul_scalar(REGULARISER / images)?;
        batch.with_reward(near.f_add(&far)?.f_add(&strayed)?)
    }

    fn has_centers(&self) -> bool {
        false
    }
}
