//! The weights of a policy: head by head for training and storage, and stacked for computing.

use scihcgrl_index::code::Length;
use tch::{TchError, Tensor, nn};

use crate::{
    error::ModelError,
    network::backbone::Shapes,
    options::{Cell, Policy as Form},
};

/// Scale of the initial projection of a recurrent policy, relative to other policies.
const PROJECTION_SCALE: f64 = 0.3;

/// The weights of one length. The cell's names and layout are those of PyTorch's `RNNCell`. An
/// independent or linear policy has no cell, and its action layer has one row per bit.
pub(crate) struct Head {
    project: Option<(Tensor, Tensor)>, // [hidden, feature], [hidden]
    wanted: Option<Tensor>,            // [hidden, bits]
    cell: Option<CellWeights>,
    action_weight: Tensor, // [1 or bits, hidden or feature]
    action_bias: Tensor,   // [1 or bits]
}

struct CellWeights {
    weight_ih: Tensor,          // [hidden, hidden]
    weight_hh: Tensor,          // [hidden, hidden]
    bias_ih: Tensor,            // [hidden]
    bias_hh: Tensor,            // [hidden]
    weight_bit: Option<Tensor>, // [hidden, 1]
}

/// All heads stacked, transposed for products from the left.
pub(crate) struct Joined {
    pub project: Option<(Tensor, Tensor)>, // [heads, feature, hidden], [heads, 1, hidden]
    pub wanted: Option<Tensor>,            // [heads, bits, hidden]
    pub cell: Option<JoinedCell>,
    pub action: Tensor,      // [heads, hidden or feature, 1 or bits]
    pub action_bias: Tensor, // [heads, 1, 1 or bits]
}

/// `both` is W_ih + W_hh: from the second bit on, Eq 7 feeds the same h to both.
pub(crate) struct JoinedCell {
    pub input: Tensor,       // [heads, hidden, hidden]
    pub history: Tensor,     // [heads, hidden, hidden]
    pub both: Tensor,        // [heads, hidden, hidden]
    pub bias: Tensor,        // [heads, 1, hidden]
    pub bit: Option<Tensor>, // [heads, 1, hidden]
}

/// Returns the tensors of the head of a length, without building it.
pub fn shapes(feature: i64, form: &Form, length: Length) -> Shapes {
    let (hidden, bits) = (form.hidden, length.bits() as i64);
    let recurrent = matches!(form.cell, Cell::Recurrent | Cell::Feedback);
    let (mut width, mut tensors) = (feature, Vec::new());
    if form.cell != Cell::Linear {
        width = hidden;
        tensors.push(("project_weight", vec![hidden, feature]));
        tensors.push(("project_bias", vec![hidden]));
    }
    if form.classifier.is_some() {
        tensors.push(("wanted_weight", vec![hidden, bits]));
    }
    if recurrent {
        let weights = ["weight_ih", "weight_hh"].map(|name| (name, vec![hidden, hidden]));
        let biases = ["bias_ih", "bias_hh"].map(|name| (name, vec![hidden]));
        tensors.extend(weights.into_iter().chain(biases));
    }
    if form.cell == Cell::Feedback {
        tensors.push(("weight_bit", vec![hidden, 1]));
    }
    let rows = if recurrent { 1 } else { bits };
    tensors.push(("action_weight", vec![rows, width]));
    tensors.push(("action_bias", vec![rows]));
    let named = |(name, shape): (&str, Vec<i64>)| (name.to_owned(), shape);
    tensors.into_iter().map(named).collect()
}

impl Head {
    /// Builds an untrained head under `path`. If `wanted` is true, its state takes wanted values.
    ///
    /// A cell starts as an almost linear rotation: W_ih and W_hh are halves of one orthogonal
    /// matrix, biases are 0, and its input is small. The last bit then depends on the feature as
    /// much as the first. With other starts, the feature fades within about twenty bits. Training
    /// then learns to carry it in saturated states, which hold whole centres and leave no bit
    /// uncertain.
    pub fn new(
        path: &nn::Path,
        feature: i64,
        form: &Form,
        length: Length,
        wanted: bool,
    ) -> Result<Self, ModelError> {
        let hidden = form.hidden;
        let bound = 1.0 / (hidden as f64).sqrt();
        let uniform =
            |path: &nn::Path, name: &str, shape: &[i64]| path.f_uniform(name, shape, -bound, bound);
        let recurrent = matches!(form.cell, Cell::Recurrent | Cell::Feedback);
        let project = match form.cell {
            Cell::Linear => None,
            _ => {
                let spread =
                    if recurrent { PROJECTION_SCALE } else { 1.0 } * (6.0 / feature as f64).sqrt();
                Some((
                    path.f_uniform("project_weight", &[hidden, feature], -spread, spread)?,
                    path.f_zeros("project_bias", &[hidden])?,
                ))
            }
        };
        let cell = if recurrent {
            let weight_ih = path.f_orthogonal("weight_ih", &[hidden, hidden], 0.5)?;
            Some(CellWeights {
                weight_hh: path.f_var_copy("weight_hh", &weight_ih)?,
                weight_ih,
                bias_ih: path.f_zeros("bias_ih", &[hidden])?,
                bias_hh: path.f_zeros("bias_hh", &[hidden])?,
                weight_bit: match form.cell {
                    Cell::Feedback => Some(uniform(path, "weight_bit", &[hidden, 1])?),
                    _ => None,
                },
            })
        } else {
            None
        };
        let rows = if recurrent { 1 } else { length.bits() as i64 };
        let width = project.as_ref().map_or(feature, |_| hidden);
        Ok(Head {
            project,
            wanted: if wanted {
                Some(path.f_kaiming_uniform("wanted_weight", &[hidden, length.bits() as i64])?)
            } else {
                None
            },
            cell,
            action_weight: match form.cell {
                Cell::Linear => path.f_randn(
                    "action_weight",
                    &[rows, width],
                    0.0,
                    (1.0 / width as f64).sqrt(),
                )?,
                _ => uniform(path, "action_weight", &[rows, width])?,
            },
            action_bias: path.f_zeros("action_bias", &[rows])?,
        })
    }
}

impl Joined {
    /// Stacks heads of one form; `bits` is the longest length.
    pub fn of(heads: &[Head], bits: i64) -> Result<Self, ModelError> {
        // Adds rows beyond a head's length, so that heads can be stacked.
        let fill = |rows: &Tensor| match rows.size()[0] {
            1 => Ok(rows.shallow_clone()),
            own if rows.dim() == 1 => rows.f_constant_pad_nd([0, bits - own]),
            own => rows.f_constant_pad_nd([0, 0, 0, bits - own]),
        };
        let heads = || heads.iter();
        // All heads have one form: each has the parts that the first has.
        let projects: Option<Vec<_>> = heads().map(|head| head.project.as_ref()).collect();
        let cells: Option<Vec<_>> = heads().map(|head| head.cell.as_ref()).collect();
        Ok(Joined {
            project: match projects {
                None => None,
                Some(all) => Some((
                    stack(all.iter().map(|(weight, _)| weight.f_tr()))?,
                    stack(all.iter().map(|(_, bias)| bias.f_unsqueeze(0)))?,
                )),
            },
            wanted: match heads()
                .map(|head| head.wanted.as_ref())
                .collect::<Option<Vec<_>>>()
            {
                None => None,
                // Columns beyond a head's length are multiplied by zeros.
                Some(all) => Some(stack(all.iter().map(|weight| {
                    let own = weight.size()[1];
                    weight.f_constant_pad_nd([0, bits - own])?.f_tr()
                }))?),
            },
            cell: cells.map(|cells| JoinedCell::of(&cells)).transpose()?,
            action: stack(heads().map(|head| fill(&head.action_weight)?.f_tr()))?,
            action_bias: stack(heads().map(|head| fill(&head.action_bias)?.f_unsqueeze(0)))?,
        })
    }
}

impl JoinedCell {
    fn of(cells: &[&CellWeights]) -> Result<Self, ModelError> {
        let cells = || cells.iter();
        let bits: Option<Vec<_>> = cells().map(|cell| cell.weight_bit.as_ref()).collect();
        Ok(JoinedCell {
            input: stack(cells().map(|cell| cell.weight_ih.f_tr()))?,
            history: stack(cells().map(|cell| cell.weight_hh.f_tr()))?,
            both: stack(cells().map(|cell| cell.weight_ih.f_add(&cell.weight_hh)?.f_tr()))?,
            bias: stack(cells().map(|cell| cell.bias_ih.f_add(&cell.bias_hh)?.f_unsqueeze(0)))?,
            bit: bits
                .map(|bits| stack(bits.iter().map(|weight| weight.f_tr())))
                .transpose()?,
        })
    }
}

/// Stacks one part of each head: `[heads, …]`.
fn stack(parts: impl Iterator<Item = Result<Tensor, TchError>>) -> Result<Tensor, ModelError> {
    Ok(Tensor::f_stack(&parts.collect::<Result<Vec<_>, _>>()?, 0)?)
}
