//! Holds all variables of a network in one tensor, so that an operation on all of them is a single
//! one. On a GPU, every operation costs a launch, however small it is.

use tch::{Kind, Tensor, nn::VarStore};

use crate::error::ModelError;

/// Alignment of variables, in entries: 512 bytes, as libtorch's allocator aligns memory on a GPU.
const ALIGNMENT: i64 = 128;

/// The variables of a network, moved into one tensor in this order: trained variables of the
/// backbone, other trained variables, the rest.
pub(crate) struct FlatVariables {
    /// All entries, `[entries]`, `Float`. Entries between two variables are 0.
    pub values: Tensor,
    /// The gradients of the trained variables, `[trained entries]`, `Float`. Back-propagation adds
    /// to them.
    pub gradients: Tensor,
    /// The end of the backbone's trained entries.
    pub backbone: i64,
    slots: Vec<Slot>,
}

/// The place of a variable.
struct Slot {
    name: String,
    size: Vec<i64>,
    from: i64,
    length: i64,
}

impl Slot {
    fn view(&self, of: &Tensor) -> Result<Tensor, ModelError> {
        Ok(of
            .f_narrow(0, self.from, self.length)?
            .f_view(&*self.size)?)
    }
}

impl FlatVariables {
    /// Moves all variables into one tensor.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn of(variables: &VarStore) -> Result<Self, ModelError> {
        let mut named: Vec<_> = variables.variables().into_iter().collect();
        let place = |name: &str, value: &Tensor| match (value.requires_grad(), name) {
            (true, name) if name.starts_with("backbone.") => 0,
            (true, _) => 1,
            (false, _) => 2,
        };
        named.sort_by_cached_key(|(name, value)| (place(name, value), name.clone()));
        let (mut slots, mut ends) = (Vec::new(), [0; 3]);
        let mut end = 0;
        for (name, value) in &named {
            let (from, length) = (end, value.numel() as i64);
            end += (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            ends[place(name, value)..].fill(end);
            slots.push(Slot {
                name: name.clone(),
                size: value.size(),
                from,
                length,
            });
        }
        let [backbone, trained, all] = ends;
        let zeros = |entries| Tensor::f_zeros([entries], (Kind::Float, variables.device()));
        let (values, gradients) = (zeros(all)?, zeros(trained)?);
        for ((_, value), slot) in named.iter_mut().zip(&slots) {
            let view = slot.view(&values)?;
            tch::no_grad(|| view.shallow_clone().f_copy_(value))?;
            value.f_set_data(&view)?;
            if slot.from < trained {
                // Only back-propagation creates a missing gradient.
                if !value.f_grad()?.defined() {
                    value.f_sum(Kind::Float)?.f_backward()?;
                }
                value.f_grad()?.f_set_data(&slot.view(&gradients)?)?;
            }
        }
        Ok(FlatVariables {
            values,
            gradients,
            backbone,
            slots,
        })
    }

    /// Returns the part of each variable, by name and in its shape, as a view of a tensor laid out
    /// like [`values`](Self::values) or [`gradients`](Self::gradients).
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn views(&self, of: &Tensor) -> Result<Vec<(&str, Tensor)>, ModelError> {
        let entries = of.numel() as i64;
        let within = self.slots.iter().filter(|slot| slot.from < entries);
        within
            .map(|slot| Ok((slot.name.as_str(), slot.view(of)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn};

    use super::*;

    #[test]
    fn variables_keep_their_values_and_share_one_tensor() {
        let variables = VarStore::new(Device::Cpu);
        let root = variables.root();
        let init = nn::Init::Const(2.0);
        let policy = (&root / "policy").var("weight", &[3, 5], init);
        let backbone = (&root / "backbone").var("weight", &[130], init);
        let mean = (&root / "backbone").zeros_no_train("mean", &[4]);
        policy.sum(Kind::Float).backward();
        for _ in 0..2 {
            let flat = FlatVariables::of(&variables).unwrap();
            assert_eq!((flat.backbone, flat.gradients.size()), (256, vec![384]));
            assert_eq!(flat.values.size(), [512]);
            let names = |of: &Tensor| -> Vec<String> {
                let views = flat.views(of).unwrap();
                views.iter().map(|(name, _)| name.to_string()).collect()
            };
            let trained = ["backbone.weight", "policy.weight"];
            assert_eq!(names(&flat.gradients), trained);
            assert_eq!(names(&flat.values)[2], "backbone.mean");
            assert_eq!(f64::try_from(policy.sum(Kind::Float)).unwrap(), 30.0);
            // An operation on the whole changes each variable, and gradients are added to the
            // whole.
            let _more = tch::no_grad(|| flat.values.shallow_clone().f_add_scalar_(1.0)).unwrap();
            assert_eq!(f64::try_from(mean.sum(Kind::Float)).unwrap(), 4.0);
            let loss = (&policy * &policy).sum(Kind::Float) + backbone.sum(Kind::Float);
            loss.backward();
            let sum = f64::try_from(flat.gradients.sum(Kind::Float)).unwrap();
            assert_eq!(sum, 15.0 * 6.0 + 130.0);
            let _less = tch::no_grad(|| flat.values.shallow_clone().f_sub_scalar_(1.0)).unwrap();
        }
    }
}
