//! Random hyperplanes through the standardised feature (Charikar, 2002): `--cell linear` as it was drawn. There is nothing to learn.

use scihcgrl_model::{
    model::ModelError,
    train::objective::{Batch, Objective, Step},
};

/// No objective at all.
pub struct Hyperplanes;

impl Objective for Hyperplanes {
    fn name(&self) -> &'static str {
        "hyperplanes"
    }

    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let nothing = batch.logits()?.f_sum(tch::Kind::Float)?.f_mul_scalar(0.0)?;
        batch.watched(nothing)
    }

    fn has_centers(&self) -> bool {
        false
    }

    fn learns(&self) -> bool {
        false
    }
}
