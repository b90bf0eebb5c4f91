//! The reward of an action set, −d_H(A, c)/K for its hash centre c, and its expectation, the
//! baseline.

use tch::Tensor;

use crate::{error::ModelError, train::objective::rollout::Rollout};

/// Rewards bit by bit; the reward of a set is the sum over its bits.
pub struct Reward {
    /// −1/K if a sampled bit differs from the centre's, otherwise 0: `[heads, batch, bits]`.
    pub sampled: Tensor,
    /// The expectation of `sampled` under the policy: `[heads, batch, bits]`.
    pub expected: Tensor,
}

/// Rewards a rollout. `centers` are the bits, 0 or 1, of each image's centre, `[heads, batch,
/// bits]`; `share` is 1/K for the first K bits of each head and 0 past its length, `[heads, 1,
/// bits]`.
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
