//! Action sets sampled from a policy's logits, with the log-probability of each action (Eq 1–3).
//! Knows neither rewards nor losses.

use tch::{Reduction, Tensor};

use crate::model::ModelError;

/// One sampled action set per image and head.
pub struct Rollout {
    /// P(bit = +1) = σ(2z), detached: `[heads, batch, bits]`.
    pub probability: Tensor,
    /// The sampled bits, 0 or 1: `[heads, batch, bits]`.
    pub actions: Tensor,
    /// log P of each sampled bit, differentiable: `[heads, batch, bits]`.
    pub log_probability: Tensor,
}

/// Samples one action set from logits z, `[heads, batch, bits]`, or takes the bits that the policy itself was `fed`, which
/// were sampled from them one by one.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn sample(logits: &Tensor, fed: Option<&Tensor>) -> Result<Rollout, ModelError> {
    let doubled = logits.f_mul_scalar(2.0)?;
    let probability = doubled.f_detach()?.f_sigmoid()?;
    let actions = match fed {
        Some(fed) => fed.shallow_clone(),
        // libtorch refuses to sample from what is no number; the loss is then none either, and is told of.
        None => probability.f_nan_to_num(0.5, None, None)?.f_bernoulli()?,
    };
    let log_probability = doubled
        .f_binary_cross_entropy_with_logits::<Tensor>(&actions, None, None, Reduction::None)?
        .f_neg()?;
    Ok(Rollout {
        probability,
        actions,
        log_probability,
    })
}
