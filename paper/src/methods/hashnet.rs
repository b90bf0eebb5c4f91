//! HashNet (Cao et al., ICCV 2017): the weighted likelihood that pairs are similar, on tanh(βz). β
//! grows during training, so that the relaxed codes end as signs.

use scihcgrl_model::{
    ModelError,
    train::objective::{Batch, Objective, Step},
};
use tch::Kind;

use super::pairs::mean_over;

/// β at the end; it starts at 1.
const SHARPEST: f64 = 10.0;
/// The inner product of K bits is scaled to −10…10, as in the published code.
const SCALE: f64 = 10.0;

/// The objective.
pub struct HashNet;

impl Objective for HashNet {
    fn name(&self) -> &'static str {
        "hashnet"
    }

    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let beta = 1.0 + (SHARPEST - 1.0) * batch.done;
        let codes = batch.logits()?.f_mul_scalar(beta)?.f_tanh()?;
        let scaled = codes.f_mul(&batch.share.f_mul_scalar(SCALE)?)?;
        let product = scaled.f_bmm(&codes.f_transpose(1, 2)?)?; // [heads, batch, batch]
        // log(1 + e^x) − s·x
        let loss = product
            .f_softplus()?
            .f_sub(&product.f_mul(batch.similar)?)?;
        let unlike = batch.similar.f_neg()?.f_add_scalar(1.0)?;
        // Similar and dissimilar pairs have equal weight, however few there are of one kind.
        let loss = mean_over(&loss, batch.similar)?.f_add(&mean_over(&loss, &unlike)?)?;
        batch.with_reward(loss.f_to_kind(Kind::Float)?)
    }

    fn has_centers(&self) -> bool {
        false
    }
}
