//! Action sets sampled from a policy's logits, with the log-probability of each action (Eq 1–3).

use tch::{Reduction, Tensor};

use crate::error::ModelError;

/// One sampled action set per image and head.
pub struct Rollout {
    /// P(bit = +1) = σ(2z), detached: `[heads, batch, bits]`.
    pub probability: Tensor,
    /// The sampled bits, 0 or 1: `[heads, batch, bits]`.
    pub actions: Tensor,
    /// log P of each sampled bit, differentiable: `[heads, batch, bits]`.
    pub log_probability: Tensor,
}

/// Samples one action set from logits z, `[heads, batch, bits]`. If the policy fed its bits back,
/// returns `fed_bits`, which were sampled from the logits one by one.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn sample(logits: &Tensor, fed_bits: Option<&Tensor>) -> Result<Rollout, ModelError> {
    let doubled = logits.f_mul_scalar(2.0)?;
    let probability = doubled.f_detach()?.f_sigmoid()?;
    let actions = match fed_bits {
        Some(fed_bits) => fed_bits.shallow_clone(),
        // libtorch refuses to sample from NaN. The loss is NaN too, and is reported as diverged.
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
