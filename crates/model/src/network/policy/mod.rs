//! The recurrent policy (Eq 6–9): one cell per code length, unrolled over the feature of an image,
//! one step per bit.
//!
//! - `weights`: the weights of the heads, as they are stored and as they compute

mod weights;

use scihcgrl_index::code::Length;
use tch::{Kind, Tensor, nn};

use crate::{
    error::ModelError,
    network::environment::Environment,
    options::{History, Policy as Form},
};

use weights::{Head, Joined, JoinedCell};

pub use weights::shapes;

/// The policies of all lengths over one feature. All heads are unrolled together, so each step is
/// one batched product.
pub struct Policy {
    mean: Tensor,      // [feature]
    deviation: Tensor, // [feature]
    heads: Vec<Head>,
    form: Form,
    lengths: Vec<i64>,
    environment: Option<Environment>,
    joined: Option<Joined>,
}

/// The weight of the feature in a state that also has wanted values.
const FEATURE_SHARE: f64 = 0.1;

/// The results of one pass.
struct PassOutput {
    logits: Tensor,           // [heads, batch, bits]
    fed_bits: Option<Tensor>, // [heads, batch, bits]
    history: Tensor,          // [heads, batch, hidden]
}

/// The choice of the previous bit, if a cell takes it as input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Sampled from its probability, by libtorch's generator.
    Sample,
    /// The likelier bit.
    Greedy,
}

/// The output of a policy for a batch of features.
pub struct Unrolled {
    /// Action logits z of every pass: `[passes, heads, batch, bits]`, where `bits` is the longest
    /// length. Head i uses the first bits up to its length; ignore the others. The action value is
    /// tanh z, and P(bit = +1) = σ(2z).
    pub logits: Tensor,
    /// The bits, 0 or 1, that were fed back, in the same shape. `None` if no cell takes them.
    pub fed_bits: Option<Tensor>,
}

impl Policy {
    /// Builds one policy per length with untrained variables under `path`. If there is an
    /// environment, the state also has its wanted values.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn new(
        path: &nn::Path,
        feature: i64,
        form: &Form,
        lengths: &[Length],
        environment: Option<Environment>,
    ) -> Result<Self, ModelError> {
        let heads = lengths
            .iter()
            .map(|length| {
                Head::new(
                    &(path / length),
                    feature,
                    form,
                    *length,
                    environment.is_some(),
                )
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Policy {
            mean: path.f_zeros_no_train("feature_mean", &[feature])?,
            deviation: path.f_ones_no_train("feature_deviation", &[feature])?,
            heads,
            form: form.clone(),
            lengths: lengths.iter().map(|length| length.bits() as i64).collect(),
            environment,
            joined: None,
        })
    }

    /// Returns the longest length.
    fn bits(&self) -> i64 {
        self.lengths.iter().max().copied().unwrap_or(0)
    }

    /// Returns the environment, if there is one.
    pub fn environment(&self) -> Option<&Environment> {
        self.environment.as_ref()
    }

    /// Sets the mean and deviation that standardise features before the projection to those of
    /// `features`, `[images, feature]`. A recurrent cell does not learn from features of different
    /// scales.
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

    /// Computes the logits of the codes: features `[batch, feature]` to `[heads, batch, bits]`, the
    /// last pass of [`unroll`](Self::unroll).
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn logits(&self, features: &Tensor) -> Result<Tensor, ModelError> {
        let unrolled = self.unroll(features, Choice::Greedy, 0.0)?;
        Ok(unrolled.logits.f_select(0, -1)?)
    }

    /// Runs all passes over features, `[batch, feature]`. `dropout` is the share of their entries
    /// that are dropped at random.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn unroll(
        &self,
        features: &Tensor,
        choice: Choice,
        dropout: f64,
    ) -> Result<Unrolled, ModelError> {
        let joined_here;
        let joined = match &self.joined {
            Some(joined) => joined,
            None => {
                joined_here = Joined::of(&self.heads, self.bits())?;
                &joined_here
            }
        };
        let x = features.f_sub(&self.mean)?.f_div(&self.deviation)?; // [batch, feature]
        let x = x.f_dropout(dropout, dropout > 0.0)?.f_unsqueeze(0)?;
        let mut x = match &joined.project {
            Some((weight, bias)) => x.f_matmul(weight)?.f_add(bias)?, // [heads, batch, hidden]
            None => x,
        };
        if let Some((environment, weight)) = self.environment.as_ref().zip(joined.wanted.as_ref()) {
            let wanted = environment.wanted(features)?; // [heads, batch, bits]
            x = x
                .f_mul_scalar(FEATURE_SHARE)?
                .f_add(&wanted.f_bmm(weight)?)?;
        }
        let Some(cell) = &joined.cell else {
            let x = if joined.project.is_some() {
                x.f_tanh()?
            } else {
                x
            };
            let z = x.f_matmul(&joined.action)?.f_add(&joined.action_bias)?;
            return Ok(Unrolled {
                logits: z.f_unsqueeze(0)?,
                fed_bits: None,
            });
        };
        let input = x.f_matmul(&cell.input)?.f_add(&cell.bias)?;
        let mut history = match self.form.history {
            History::Zeros => None,
            History::Feature => Some(x),
        };
        let (mut logits, mut fed_bits) = (Vec::new(), Vec::new());
        for _ in 0..self.form.passes {
            let first = match &history {
                None => input.shallow_clone(),
                Some(h) => input.f_baddbmm(h, &cell.history, 1, 1)?,
            };
            let pass = self.pass(first.f_tanh()?, cell, joined, choice)?; // Eq 6
            logits.push(pass.logits);
            fed_bits.extend(pass.fed_bits);
            history = Some(pass.history);
        }
        Ok(Unrolled {
            logits: Tensor::f_stack(&logits, 0)?,
            fed_bits: if fed_bits.is_empty() {
                None
            } else {
                Some(Tensor::f_stack(&fed_bits, 0)?)
            },
        })
    }

    /// Runs one pass from the state after Eq 6, `[heads, batch, hidden]`.
    fn pass(
        &self,
        first: Tensor,
        cell: &JoinedCell,
        joined: &Joined,
        choice: Choice,
    ) -> Result<PassOutput, ModelError> {
        let act = |h: &Tensor| -> Result<Tensor, ModelError> {
            Ok(h.f_matmul(&joined.action)?.f_add(&joined.action_bias)?) // Eq 8 before tanh
        };
        let bits = self.bits();
        let mut states = vec![first];
        let (mut logits, mut fed_bits) = (Vec::new(), Vec::new());
        for i in 0..bits as usize {
            let mut given = cell.bias.shallow_clone();
            if let Some(weight) = &cell.bit {
                let z = act(&states[i])?; // [heads, batch, 1]
                let bit = match choice {
                    Choice::Greedy => z.f_ge(0.0)?.f_to_kind(Kind::Float)?,
                    Choice::Sample => z
                        .f_detach()?
                        .f_mul_scalar(2.0)?
                        .f_sigmoid()?
                        .f_nan_to_num(0.5, None, None)?
                        .f_bernoulli()?,
                };
                let sign = bit.f_mul_scalar(2.0)?.f_add_scalar(-1.0)?;
                given = given.f_add(&sign.f_matmul(weight)?)?;
                logits.push(z);
                fed_bits.push(bit);
            }
            if i + 1 < bits as usize {
                states.push(given.f_baddbmm(&states[i], &cell.both, 1, 1)?.f_tanh()?); // Eq 7
            }
        }
        // The history of a shorter head ends with its own last bit.
        let ends = self.lengths.iter().enumerate();
        let ends = ends
            .map(|(head, &length)| states[length as usize - 1].f_get(head as i64))
            .collect::<Result<Vec<_>, _>>()?;
        let (logits, fed_bits) = if fed_bits.is_empty() {
            // [bits, heads, batch, 1]
            (act(&Tensor::f_stack(&states, 0)?)?, None)
        } else {
            (
                Tensor::f_stack(&logits, 0)?,
                Some(Tensor::f_stack(&fed_bits, 0)?),
            )
        };
        let order = |bits: &Tensor| bits.f_squeeze_dim(3)?.f_permute([1, 2, 0]); // [heads, batch, bits]
        Ok(PassOutput {
            logits: order(&logits)?,
            fed_bits: fed_bits.map(|fed_bits| order(&fed_bits)).transpose()?,
            history: Tensor::f_stack(&ends, 0)?,
        })
    }

    /// Stacks the heads once, for inference only.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn fold(&mut self) -> Result<(), ModelError> {
        self.joined = Some(Joined::of(&self.heads, self.bits())?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::options::Train;

    #[test]
    fn a_head_computes_the_same_alone_and_stacked() {
        for flags in [
            "--cell recurrent --passes 2",
            "--cell feedback --passes 2 --history feature",
            "--cell independent",
            "--cell linear",
        ] {
            let config = Train::of(
                &flags
                    .split(' ')
                    .chain(["--hidden", "16"])
                    .collect::<Vec<_>>(),
            )
            .unwrap();
            let variables = tch::nn::VarStore::new(Device::Cpu);
            let joined =
                Policy::new(&variables.root(), 8, &config.policy, &config.lengths, None).unwrap();
            let x = Tensor::randn([5, 8], (Kind::Float, Device::Cpu));
            let all = joined.unroll(&x, Choice::Greedy, 0.0).unwrap().logits;
            for (head, length) in config.lengths.iter().enumerate() {
                let alone = tch::nn::VarStore::new(Device::Cpu);
                let policy =
                    Policy::new(&alone.root(), 8, &config.policy, &[*length], None).unwrap();
                for (name, mut value) in alone.variables() {
                    tch::no_grad(|| value.copy_(&variables.variables()[&name]));
                }
                let own = policy.unroll(&x, Choice::Greedy, 0.0).unwrap().logits; // [passes, 1, 5, length]
                let same = all
                    .select(1, head as i64)
                    .narrow(2, 0, length.bits() as i64);
                let difference = (own.squeeze_dim(1) - same).abs().max();
                assert!(
                    f64::try_from(difference).unwrap() < 1e-5,
                    "{flags} {length}"
                );
            }
        }
    }
}
