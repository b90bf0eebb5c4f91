//! A network's variables in one piece of memory, so that what is done to all of them is one operation: on a GPU every operation costs
//! a launch, however small it is. Knows where each variable lies; nothing of what is done to them.

use tch::{Kind, Tensor, nn::VarStore};

use crate::model::ModelError;

/// Where a variable may begin, in entries: 512 bytes, as libtorch's own allocator aligns memory on a GPU.
const ALIGNMENT: i64 = 128;

/// The variables, which lie in this memory from now on, in the order: trained ones of the backbone, other trained ones, the rest.
pub(super) struct Flat {
    /// All entries, `[entries]`, `Float`. Entries between two variables are 0.
    pub values: Tensor,
    /// The gradients of those that are trained, `[trained entries]`, `Float`. Back-propagation adds to them.
    pub gradients: Tensor,
    /// Where the backbone's trained entries end.
    pub backbone: i64,
    slots: Vec<Slot>,
}

/// Where a variable lies.
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

impl Flat {
    /// Moves all variables.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn of(variables: &VarStore) -> Result<Self, ModelError> {
        let mut named: Vec<_> = variables.variables().into_iter().collect();
        let place = |name: &str, value: &Tensor| match value.requires_grad() {
            true if name.starts_with("backbone.") => 0,
            true => 1,
            false => 2,
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
                // Only back-propagation makes a gradient that there is not yet.
                if !value.f_grad()?.defined() {
                    value.f_sum(Kind::Float)?.f_backward()?;
                }
                value.f_grad()?.f_set_data(&slot.view(&gradients)?)?;
            }
        }
        Ok(Flat {
            values,
            gradients,
            backbone,
            slots,
        })
    }

    /// The part of each variable, by name and in its shape, of a tensor laid out like [`values`](Self::values) or
    /// [`gradients`](Self::gradients), of which it is a view.
    ///
    /// # Errors
    /// [`ModelError::Tensor`].
    pub fn parts(&self, of: &Tensor) -> Result<Vec<(&str, Tensor)>, ModelError> {
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
    fn variables_keep_their_values_and_share_memory_with_the_whole() {
        let variables = VarStore::new(Device::Cpu);
        let root = variables.root();
        let init = nn::Init::Const(2.0);
        let policy = (&root / "policy").var("weight", &[3, 5], init);
        let backbone = (&root / "backbone").var("weight", &[130], init);
        let mean = (&root / "backbone").zeros_no_train("mean", &[4]);
        policy.sum(Kind::Float).backward();
        for _ in 0..2 {
            let flat = Flat::of(&variables).unwrap();
            assert_eq!((flat.backbone, flat.gradients.size()), (256, vec![384]));
            assert_eq!(flat.values.size(), [512]);
            let names = |of: &Tensor| -> Vec<String> {
                let parts = flat.parts(of).unwrap();
                parts.iter().map(|(name, _)| name.to_string()).collect()
            };
            let trained = ["backbone.weight", "policy.weight"];
            assert_eq!(names(&flat.gradients), trained);
            assert_eq!(names(&flat.values)[2], "backbone.mean");
            assert_eq!(f64::try_from(policy.sum(Kind::Float)).unwrap(), 30.0);
            // What is done to the whole is done to each, and gradients are added where the whole looks for them.
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
