//! The wanted codes of images.

use tch::{Device, Kind, Tensor};

use crate::{card::Card, error::ModelError, options::Train, train::objective::Objective};

/// The target of each image.
pub(crate) struct Targets {
    /// The set of classes of each image: `[images]`, `Int64`.
    labels: Tensor,
    /// The row of `bits` of each image: `[images]`, `Int64`.
    rows: Tensor,
    /// 0 or 1: `[heads, rows, bits]`.
    bits: Tensor,
    /// 1/K for the first K bits of each head and 0 past its length: `[heads, 1, bits]`.
    pub share: Tensor,
    /// 1 if two sets have a class in common, otherwise 0: `[sets, sets]`.
    related: Tensor,
}

impl Targets {
    pub(crate) fn new(
        config: &Train,
        objective: &dyn Objective,
        card: &Card,
        sets: &[Vec<usize>],
        labels: &[usize],
    ) -> Result<Self, ModelError> {
        let bits = card
            .lengths
            .iter()
            .map(|length| length.bits())
            .max()
            .unwrap_or(0);
        let (mut values, mut share) = (Vec::new(), Vec::new());
        let mut rows = 0;
        for &length in &card.lengths {
            let codes = objective.targets(config, card, length, sets, labels);
            rows = codes.len();
            for code in codes {
                let row = code.bits().iter().map(|bit| f32::from(u8::from(*bit)));
                values.extend(row.chain(std::iter::repeat(0.0)).take(bits));
            }
            let bit_shares = std::iter::repeat_n(1.0 / length.bits() as f32, length.bits());
            share.extend(bit_shares.chain(std::iter::repeat(0.0)).take(bits));
        }
        let related = sets.iter().flat_map(|one| {
            sets.iter()
                .map(|other| f32::from(u8::from(one.iter().any(|class| other.contains(class)))))
        });
        let heads = card.lengths.len() as i64;
        let sides = [sets.len() as i64; 2];
        let labels: Vec<i64> = labels.iter().map(|&set| set as i64).collect();
        let labels = Tensor::f_from_slice(&labels)?;
        Ok(Targets {
            rows: if objective.has_own_targets() {
                Tensor::f_arange(rows as i64, (Kind::Int64, Device::Cpu))?
            } else {
                labels.shallow_clone()
            },
            labels,
            bits: Tensor::f_from_slice(&values)?.f_view([heads, rows as i64, bits as i64])?,
            share: Tensor::f_from_slice(&share)?.f_view([heads, 1, bits as i64])?,
            related: Tensor::f_from_slice(&related.collect::<Vec<_>>())?.f_view(sides)?,
        })
    }

    /// Gives every image its own soft target. Values `[heads, images, bits]`, clamped to −1…1,
    /// become the probabilities of its bits.
    pub fn set_soft(&mut self, values: &Tensor) -> Result<(), ModelError> {
        self.bits = values
            .f_add_scalar(1.0)?
            .f_div_scalar(2.0)?
            .f_clamp(0.0, 1.0)?;
        self.rows = Tensor::f_arange(values.size()[1], (Kind::Int64, self.bits.device()))?;
        Ok(())
    }

    pub(crate) fn move_to(self, device: Device) -> Result<Self, ModelError> {
        Ok(Targets {
            labels: self.labels.f_to_device(device)?,
            rows: self.rows.f_to_device(device)?,
            bits: self.bits.f_to_device(device)?,
            share: self.share.f_to_device(device)?,
            related: self.related.f_to_device(device)?,
        })
    }

    /// Returns the targets of images by their numbers: `[heads, batch, bits]`.
    pub(crate) fn for_images(&self, indices: &Tensor) -> Result<Tensor, ModelError> {
        let rows = self.rows.f_index_select(0, indices)?;
        Ok(self.bits.f_index_select(1, &rows)?)
    }

    /// Returns 1 for images that have a class in common, otherwise 0: `[batch, batch]`.
    pub(crate) fn similar(&self, indices: &Tensor) -> Result<Tensor, ModelError> {
        let sets = self.labels.f_index_select(0, indices)?;
        Ok(self
            .related
            .f_index_select(0, &sets)?
            .f_index_select(1, &sets)?)
    }

    /// Counts, for each head, the codes whose nearest row is the target of their own image:
    /// `[heads]`, `Int64`. Codes are the signs of logits `[heads, batch, bits]`.
    pub fn count_nearest(&self, logits: &Tensor, indices: &Tensor) -> Result<Tensor, ModelError> {
        let mask = self.share.f_sign()?;
        let signs = |bits: &Tensor| bits.f_mul_scalar(2.0)?.f_add_scalar(-1.0)?.f_mul(&mask);
        let codes = signs(&logits.f_ge(0.0)?.f_to_kind(Kind::Float)?)?;
        let agreement = codes.f_bmm(&signs(&self.bits)?.f_transpose(1, 2)?)?; // [heads, batch, rows]
        let own = self.rows.f_index_select(0, indices)?;
        let right = agreement.f_argmax(2, false)?.f_eq_tensor(&own)?;
        Ok(right.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Int64)?)
    }
}
