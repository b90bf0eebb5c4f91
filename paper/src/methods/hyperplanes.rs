//! Random hyperplanes through the standardised feature (Charikar, 2002): `--cell linear` with its
//! random weights. Nothing is learned.

use scihcgrl_model::{
    ModelError,
    train::objective::{Batch, Objective, Step},
};

/// An objective without a loss.
pub struct Hyperplanes;

impl Objective for Hyperplanes {
    fn name(&self) -> &'static str {
        "hyperplanes"
    }

    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let nothing = batch.logits()?.f_sum(tch::Kind::Float)?.f_mul_scalar(0.0)?;
        batch.with_reward(nothing)
    }

    fn has_centers(&self) -> bool {
        false
    }

    fn learns(&self) -> bool {
        false
    }
}
