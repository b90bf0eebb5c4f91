//! The objective (Eq 11): the REINFORCE term L_g over sampled action sets and the differentiable term R_g over all bits.
//! Knows logits, centres and weights; neither images nor optimisers.

use tch::{Kind, Reduction, Tensor};

use super::{reward::reward, rollout::sample};
use crate::{config::Credit, model::ModelError};

/// The weights of the objective's terms.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// Weight of L_g.
    pub reinforce: f64,
    /// Weight of R_g.
    pub global: f64,
    /// How far R_g's targets stand from 0 and 1, times two: 0 to 1. It keeps doubt in the bits.
    pub smoothing: f64,
    /// What L_g credits a reward to.
    pub credit: Credit,
}

/// A step's loss and what it is watched by.
pub struct Step {
    /// To be minimised: a scalar, differentiable.
    pub loss: Tensor,
    /// Mean reward of the sampled action sets, −1…0: a scalar.
    pub reward: Tensor,
}

impl Objective {
    /// The loss of a batch: −w_g·L_g − w_r·R_g, summed over heads and meant over images (Eq 11, 15–17).
    ///
    /// L_g is E[(g − b)·Σ log π] with the policy's own expected reward as b. R_g is −BCE(p, c) in CSQ's order. Shapes as in
    /// [`reward`].
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn step(
        &self,
        logits: &Tensor,
        centers: &Tensor,
        share: &Tensor,
    ) -> Result<Step, ModelError> {
        let batch = logits.size3()?.1 as f64;
        let rollout = sample(logits)?;
        let reward = reward(&rollout, centers, share)?;
        let bits = [2i64];
        let advantage = reward.sampled.f_sub(&reward.expected)?; // [heads, batch, bits]
        let advantage = match self.credit {
            Credit::Bit => advantage,
            Credit::Set => advantage.f_sum_dim_intlist(bits.as_slice(), true, Kind::Float)?,
        };
        // Bits past a head's length have no share in the reward and must have none in Σ log π.
        let log_probability = rollout.log_probability.f_mul(&share.f_sign()?)?;
        let reinforce = advantage
            .f_mul(&log_probability)?
            .f_sum(Kind::Float)?
            .f_neg()?;
        let targets = centers
            .f_mul_scalar(1.0 - self.smoothing)?
            .f_add_scalar(self.smoothing / 2.0)?;
        let global = logits
            .f_mul_scalar(2.0)?
            .f_binary_cross_entropy_with_logits::<Tensor>(&targets, None, None, Reduction::None)?
            .f_mul(share)?
            .f_sum(Kind::Float)?;
        let loss = reinforce
            .f_mul_scalar(self.reinforce / batch)?
            .f_add(&global.f_mul_scalar(self.global / batch)?)?;
        let reward = reward
            .sampled
            .f_sum_dim_intlist(bits.as_slice(), false, Kind::Float)?
            .f_mean(Kind::Float)?;
        Ok(Step { loss, reward })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// Four inputs, four codes of eight bits, and no term but REINFORCE: the policy must still find them.
    #[test]
    fn reinforce_alone_learns_a_toy_task() {
        for credit in [Credit::Bit, Credit::Set] {
            tch::manual_seed(7);
            let centers = Tensor::randint(2, [1, 4, 8], (Kind::Float, Device::Cpu));
            let share = Tensor::full([1, 1, 8], 1.0 / 8.0, (Kind::Float, Device::Cpu));
            let mut logits =
                Tensor::zeros([1, 4, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let objective = Objective {
                reinforce: 1.0,
                global: 0.0,
                smoothing: 0.0,
                credit,
            };
            for _ in 0..1500 {
                let step = objective.step(&logits, &centers, &share).unwrap();
                step.loss.backward();
                let gradient = logits.grad();
                tch::no_grad(|| logits.f_sub_(&(gradient * 20.0)).map(drop)).unwrap();
                logits.zero_grad();
            }
            let right = logits
                .ge(0.0)
                .to_kind(Kind::Float)
                .eq_tensor(&centers)
                .all();
            assert!(bool::try_from(right).unwrap(), "{credit:?}");
        }
    }

    #[test]
    fn bits_past_the_length_do_not_count() {
        tch::manual_seed(1);
        let centers = Tensor::zeros([1, 2, 4], (Kind::Float, Device::Cpu));
        let share = Tensor::from_slice(&[0.5f32, 0.5, 0.0, 0.0]).view([1, 1, 4]);
        let logits = Tensor::randn([1, 2, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        for credit in [Credit::Bit, Credit::Set] {
            let objective = Objective {
                reinforce: 1.0,
                global: 1.0,
                smoothing: 0.1,
                credit,
            };
            objective
                .step(&logits, &centers, &share)
                .unwrap()
                .loss
                .backward();
            let beyond = logits.grad().slice(2, 2, 4, 1).abs().max();
            assert_eq!(f64::try_from(beyond).unwrap(), 0.0);
        }
    }
}
