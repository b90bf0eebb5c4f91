//! Random hyperplanes through the standardised feature (Charikar, 2002): `--cell linear` as it was drawn. There is nothing to learn.

use super::{Batch, Method, Step};
use crate::model::ModelError;

/// No objective at all.
pub struct Hyperplanes;

impl Method for Hyperplanes {
    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let nothing = batch.logits()?.f_sum(tch::Kind::Float)?.f_mul_scalar(0.0)?;
        batch.watched(nothing)
    }
}
