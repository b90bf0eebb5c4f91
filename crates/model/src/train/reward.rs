//! The reward of an action set against its hash centre, −d_H(A, c)/K, and its expectation, the baseline.
//! Knows bits and centres; neither policies nor optimisers.

use tch::Tensor;

use super::rollout::Rollout;
use crate::model::ModelError;

/// Rewards bit by bit; a set's reward is their sum over its bits.
pub struct Reward {
    /// −1/K where a sampled bit differs from the centre's, else 0: `[heads, batch, bits]`.
    pub sampled: Tensor,
    /// What that is on average under the policy, exactly: `[heads, batch, bits]`.
    pub expected: Tensor,
}

/// Rewards a rollout. `centers` are the bits, 0 or 1, of each image's centre, `[heads, batch, bits]`; `share` is 1/K for the
/// first K bits of each head and 0 past its length, `[heads, 1, bits]`.
///
/// # Errors
/// [`ModelError::Tensor`].
pub fn reward(rollout: &Rollout, centers: &Tensor, share: &Tensor) -> Result<Reward, ModelError> {
    let miss = |bits: &Tensor| -> Result<Tensor, ModelError> {
        Ok(bits.f_sub(centers)?.f_abs()?.f_mul(share)?.f_neg()?)
    };
    Ok(Reward {
        sampled: miss(&rollout.actions)?,
        expected: miss(&rollout.probability)?,
    })
}
