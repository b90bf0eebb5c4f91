//! The paper's objective (Eq 11): the REINFORCE term L_g over sampled action sets, and the
//! differentiable term R_g over all bits.

use tch::{Kind, Reduction, Tensor};

use crate::{
    error::ModelError,
    options::{Credit, Train},
    train::objective::{Batch, Objective, Step, quantization, reward::reward, rollout::sample},
};

/// The weights of the objective's terms.
#[derive(Clone, Copy, Debug)]
pub struct Reinforce {
    /// Weight of L_g.
    pub reinforce: f64,
    /// Weight of R_g.
    pub global: f64,
    /// Weight of the quantisation term.
    pub quantization: f64,
    /// Twice the distance of R_g's targets from 0 and 1, 0 to 1. It keeps bits uncertain.
    pub smoothing: f64,
    /// The actions that L_g credits a reward to.
    pub credit: Credit,
}

impl From<&Train> for Reinforce {
    fn from(config: &Train) -> Self {
        Reinforce {
            reinforce: config.reinforce_weight,
            global: config.global_weight,
            quantization: config.quantization_weight,
            smoothing: config.smoothing,
            credit: config.credit,
        }
    }
}

impl Objective for Reinforce {
    fn name(&self) -> &'static str {
        "scihcgrl"
    }

    /// −w_g·L_g − w_r·R_g (Eq 11, 15–17), averaged over passes: the action set of every pass is
    /// rewarded.
    fn step(&self, batch: &Batch) -> Result<Step, ModelError> {
        let logits = &batch.unrolled.logits;
        let passes = logits.size()[0];
        let steps = (0..passes)
            .map(|pass| {
                let fed_bits = batch.unrolled.fed_bits.as_ref();
                let fed_bits = fed_bits.map(|fed_bits| fed_bits.f_get(pass)).transpose()?;
                self.pass(&logits.f_get(pass)?, fed_bits.as_ref(), batch)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mean = |part: fn(&Step) -> &Tensor| -> Result<Tensor, ModelError> {
            let parts: Vec<_> = steps.iter().map(part).collect();
            Ok(Tensor::f_stack(&parts, 0)?.f_mean(Kind::Float)?)
        };
        Ok(Step {
            loss: mean(|step| &step.loss)?,
            reward: mean(|step| &step.reward)?,
        })
    }
}

impl Reinforce {
    /// L_g is E[(g − b)·Σ log π] with the policy's own expected reward as b. R_g is −BCE(p, c) in
    /// CSQ's order.
    fn pass(
        &self,
        logits: &Tensor,
        fed_bits: Option<&Tensor>,
        batch: &Batch,
    ) -> Result<Step, ModelError> {
        let Batch { targets, share, .. } = batch;
        let images = logits.size3()?.1 as f64;
        let rollout = sample(logits, fed_bits)?;
        let reward = reward(&rollout, targets, share)?;
        let bits = [2i64];
        let advantage = reward.sampled.f_sub(&reward.expected)?; // [heads, batch, bits]
        let advantage = match self.credit {
            Credit::Bit => advantage,
            Credit::Set => advantage.f_sum_dim_intlist(bits.as_slice(), true, Kind::Float)?,
        };
        // Bits beyond a head's length count neither in the reward nor in Σ log π.
        let log_probability = rollout.log_probability.f_mul(&share.f_sign()?)?;
        let reinforce = advantage
            .f_mul(&log_probability)?
            .f_sum(Kind::Float)?
            .f_neg()?;
        let softened = targets
            .f_mul_scalar(1.0 - self.smoothing)?
            .f_add_scalar(self.smoothing / 2.0)?;
        let global = logits
            .f_mul_scalar(2.0)?
            .f_binary_cross_entropy_with_logits::<Tensor>(&softened, None, None, Reduction::None)?
            .f_mul_scalar(self.global)?
            .f_add(&quantization(logits)?.f_mul_scalar(self.quantization)?)?
            .f_mul(share)?
            .f_sum(Kind::Float)?;
        let loss = reinforce.f_mul_scalar(self.reinforce)?.f_add(&global)?;
        let reward = reward
            .sampled
            .f_sum_dim_intlist(bits.as_slice(), false, Kind::Float)?
            .f_mean(Kind::Float)?;
        Ok(Step {
            loss: loss.f_div_scalar(images)?,
            reward,
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::network::policy::Unrolled;

    fn step(objective: &Reinforce, logits: &Tensor, targets: &Tensor, share: &Tensor) -> Step {
        let unrolled = Unrolled {
            logits: logits.unsqueeze(0),
            fed_bits: None,
        };
        let batch = Batch {
            unrolled: &unrolled,
            targets,
            share,
            similar: &Tensor::eye(logits.size()[1], (Kind::Float, Device::Cpu)),
            done: 0.0,
        };
        objective.step(&batch).unwrap()
    }

    /// Four inputs, four codes of eight bits, and REINFORCE as the only term: the policy must still
    /// find the codes.
    #[test]
    fn reinforce_alone_learns_a_toy_task() {
        for credit in [Credit::Bit, Credit::Set] {
            tch::manual_seed(7);
            let centers = Tensor::randint(2, [1, 4, 8], (Kind::Float, Device::Cpu));
            let share = Tensor::full([1, 1, 8], 1.0 / 8.0, (Kind::Float, Device::Cpu));
            let mut logits =
                Tensor::zeros([1, 4, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let objective = Reinforce {
                reinforce: 1.0,
                global: 0.0,
                quantization: 0.0,
                smoothing: 0.0,
                credit,
            };
            for _ in 0..1500 {
                let step = step(&objective, &logits, &centers, &share);
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
    fn bits_beyond_the_length_do_not_count() {
        tch::manual_seed(1);
        let centers = Tensor::zeros([1, 2, 4], (Kind::Float, Device::Cpu));
        let share = Tensor::from_slice(&[0.5f32, 0.5, 0.0, 0.0]).view([1, 1, 4]);
        let logits = Tensor::randn([1, 2, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        for credit in [Credit::Bit, Credit::Set] {
            let objective = Reinforce {
                reinforce: 1.0,
                global: 1.0,
                quantization: 0.1,
                smoothing: 0.1,
                credit,
            };
            step(&objective, &logits, &centers, &share).loss.backward();
            let beyond = logits.grad().slice(2, 2, 4, 1).abs().max();
            assert_eq!(f64::try_from(beyond).unwrap(), 0.0);
        }
    }
}
