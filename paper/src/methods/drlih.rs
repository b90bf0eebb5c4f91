//! DRLIH (Peng et al., 2018), the parent of the paper's policy: the triplet loss on the policy's
//! probabilities, and REINFORCE with the triplets of sampled action sets as the reward.

use scihcgrl_model::{
    ModelError,
    options::Train,
    train::objective::{Batch, Objective, Step, rollout::sample},
};
use tch::{Kind, Tensor};

use super::pairs::{distances, hinges, mean_over};

/// The margin, as a share of the bits.
const MARGIN: f64 = 0.25;

/// The objective; `reinforce` is the weight of the sampled term.
pub struct Drlih {
    reinforce: f64,
}

impl From<&Train> for Drlih {
    fn from(config: &Train) -> Self {
        Drlih {
            reinforce: config.reinforce_weight,
        }
    }
}

impl Objective for Drlih {
    fn name(&self) -> &'static str {
        "drlih"
    }

    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let z = batch.logits()?;
        let fed_bits = batch.unrolled.fed_bits.as_ref();
        let fed_bits = fed_bits
            .map(|fed_bits| fed_bits.f_select(0, -1))
            .transpose()?;
        let rollout = sample(&z, fed_bits.as_ref())?;
        // Distances as shares of the bits.
        let share = batch.share.f_sqrt()?;
        let triplets =
            |codes: &Tensor| hinges(&distances(&codes.f_mul(&share)?)?, batch.similar, MARGIN);
        let (hinge, mask) = triplets(&z.f_mul_scalar(2.0)?.f_sigmoid()?)?;
        let local = mean_over(&hinge, &mask)?;
        let (hinge, mask) = triplets(&rollout.actions)?;
        let pairs = mask
            .f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?
            .f_clamp_min(1.0)?;
        let reward = hinge
            .f_mul(&mask)?
            .f_sum_dim_intlist([2i64].as_slice(), false, Kind::Float)?
            .f_div(&pairs)?
            .f_neg()?; // [heads, batch]
        let baseline = reward.f_mean_dim([1i64].as_slice(), true, Kind::Float)?;
        let log_probability = rollout
            .log_probability
            .f_mul(&batch.mask()?)?
            .f_sum_dim_intlist([2i64].as_slice(), false, Kind::Float)?;
        let sampled = reward.f_sub(&baseline)?.f_mul(&log_probability)?;
        let images = z.size3()?.1 as f64;
        let sampled = sampled
            .f_sum(Kind::Float)?
            .f_mul_scalar(-self.reinforce / images)?;
        batch.with_reward(local.f_add(&sampled)?)
    }

    fn has_centers(&self) -> bool {
        false
    }
}
