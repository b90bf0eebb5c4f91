//! The recurrent policy (Eq 6–9): one cell per code length, unrolled once per bit over one image's feature.
//! Knows features and action values; neither where features come from nor what rewards them.

use tch::{Kind, Tensor, nn};

use super::ModelError;
use crate::code::Length;

/// The policies of all lengths over one feature. Heads are unrolled together, as one batched product a step.
pub struct Policy {
    mean: Tensor,      // [feature]
    deviation: Tensor, // [feature]
    heads: Vec<Head>,
    bits: i64,
    joined: Option<Joined>,
}

/// One length's weights, as PyTorch's `RNNCell` names and lays them out.
struct Head {
    project_weight: Tensor, // [hidden, feature]
    project_bias: Tensor,   // [hidden]
    weight_ih: Tensor,      // [hidden, hidden]
    weight_hh: Tensor,      // [hidden, hidden]
    bias_ih: Tensor,        // [hidden]
    bias_hh: Tensor,        // [hidden]
    action_weight: Tensor,  // [1, hidden]
    action_bias: Tensor,    // [1]
}

/// All heads side by side, transposed for products from the left. `cell` is W_ih + W_hh: from the second bit on Eq 7 feeds
/// the same h to both.
struct Joined {
    project: Tensor,      // [heads, feature, hidden]
    project_bias: Tensor, // [heads, 1, hidden]
    input: Tensor,        // [heads, hidden, hidden]
    cell: Tensor,         // [heads, hidden, hidden]
    bias: Tensor,         // [heads, 1, hidden]
    action: Tensor,       // [heads, hidden, 1]
    action_bias: Tensor,  // [heads, 1, 1]
}

impl Policy {
    /// Makes a policy per length with its variables under `path`, not yet trained: W_ih and W_hh orthogonal with gain ½, so
    /// that their sum neither dies nor explodes over 48 steps.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(
        path: &nn::Path,
        feature: i64,
        hidden: i64,
        lengths: &[Length],
    ) -> Result<Self, ModelError> {
        let heads = lengths
            .iter()
            .map(|length| {
                let path = path / length;
                let bound = 1.0 / (hidden as f64).sqrt();
                Ok(Head {
                    project_weight: path.f_kaiming_uniform("project_weight", &[hidden, feature])?,
                    project_bias: path.f_zeros("project_bias", &[hidden])?,
                    weight_ih: path.f_orthogonal("weight_ih", &[hidden, hidden], 0.5)?,
                    weight_hh: path.f_orthogonal("weight_hh", &[hidden, hidden], 0.5)?,
                    bias_ih: path.f_uniform("bias_ih", &[hidden], -bound, bound)?,
                    bias_hh: path.f_uniform("bias_hh", &[hidden], -bound, bound)?,
                    action_weight: path.f_uniform("action_weight", &[1, hidden], -bound, bound)?,
                    action_bias: path.f_zeros("action_bias", &[1])?,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Policy {
            mean: path.f_zeros_no_train("feature_mean", &[feature])?,
            deviation: path.f_ones_no_train("feature_deviation", &[feature])?,
            heads,
            bits: lengths
                .iter()
                .map(|length| length.bits())
                .max()
                .unwrap_or(0) as i64,
            joined: None,
        })
    }

    /// Sets what features are centred and scaled by before the projection: the mean and deviation of `features`,
    /// `[images, feature]`. A recurrent cell does not learn from features of unlike scale.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn standardise(&mut self, features: &Tensor) -> Result<(), ModelError> {
        let mean = features.f_mean_dim([0i64].as_slice(), false, Kind::Float)?;
        let square = features
            .f_square()?
            .f_mean_dim([0i64].as_slice(), false, Kind::Float)?;
        let variance = square.f_sub(&mean.f_square()?)?.f_clamp_min(0.0)?;
        self.mean.f_copy_(&mean)?;
        self.deviation
            .f_copy_(&variance.f_add_scalar(1e-6)?.f_sqrt()?)?;
        Ok(())
    }

    /// Action logits z: `[batch, feature]` to `[heads, batch, bits]`, `bits` being the longest length. Head i has as many
    /// bits as its length, the rest is to be ignored. The action value is tanh z, and P(bit = +1) = σ(2z).
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn logits(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let made;
        let joined = match &self.joined {
            Some(joined) => joined,
            None => {
                made = self.join()?;
                &made
            }
        };
        let x = features.f_sub(&self.mean)?.f_div(&self.deviation)?; // [batch, feature]
        let x = x
            .f_unsqueeze(0)?
            .f_matmul(&joined.project)?
            .f_add(&joined.project_bias)?; // [heads, batch, hidden]
        // Eq 6 with h = 0 before the first bit.
        let mut h = x.f_matmul(&joined.input)?.f_add(&joined.bias)?.f_tanh()?;
        let mut history = vec![h.shallow_clone()];
        for _ in 1..self.bits {
            h = joined.bias.f_baddbmm(&h, &joined.cell, 1, 1)?.f_tanh()?; // Eq 7
            history.push(h.shallow_clone());
        }
        let history = Tensor::f_stack(&history, 0)?; // [bits, heads, batch, hidden]
        let z = history
            .f_matmul(&joined.action)?
            .f_add(&joined.action_bias)?; // Eq 8 before tanh
        Ok(z.f_squeeze_dim(3)?.f_permute([1, 2, 0])?) // [heads, batch, bits]
    }

    /// Joins the heads once and for all, for inference only.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn fold(&mut self) -> Result<(), ModelError> {
        self.joined = Some(self.join()?);
        Ok(())
    }

    fn join(&self) -> Result<Joined, ModelError> {
        let stack =
            |part: &dyn Fn(&Head) -> Result<Tensor, tch::TchError>| -> Result<Tensor, ModelError> {
                let parts = self.heads.iter().map(part).collect::<Result<Vec<_>, _>>()?;
                Ok(Tensor::f_stack(&parts, 0)?)
            };
        Ok(Joined {
            project: stack(&|head| head.project_weight.f_tr())?,
            project_bias: stack(&|head| head.project_bias.f_unsqueeze(0))?,
            input: stack(&|head| head.weight_ih.f_tr())?,
            cell: stack(&|head| head.weight_ih.f_add(&head.weight_hh)?.f_tr())?,
            bias: stack(&|head| head.bias_ih.f_add(&head.bias_hh)?.f_unsqueeze(0))?,
            action: stack(&|head| head.action_weight.f_tr())?,
            action_bias: stack(&|head| head.action_bias.f_unsqueeze(0))?,
        })
    }
}
