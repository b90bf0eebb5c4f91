//! Images as a model encodes them.

use std::path::Path;

use scihcgrl_index::{Sketch, code::HashCode};
use tch::{Kind, Tensor};

use crate::{
    error::ModelError,
    hasher::Hasher,
    train::data::{batches, collection::Item},
};

/// Codes, sketches and features of images.
pub(crate) struct Encoded {
    /// Their numbers among the items.
    pub numbers: Vec<usize>,
    pub codes: Vec<Vec<HashCode>>,
    pub sketches: Vec<Sketch>,
    /// Features of length 1: `[pictures, feature]`.
    pub features: Tensor,
}

/// The images that copies and kin are measured on.
pub struct TestSet<'a> {
    /// The images that are searched.
    pub items: &'a [&'a Item],
    /// The classes of each set of the items. An item whose set is empty has an unknown kind. Kinds
    /// are measured only if at least two sets have classes.
    pub sets: &'a [Vec<usize>],
    /// Numbers of the items that are changed and searched by.
    pub copied: &'a [usize],
    /// Numbers of the items that search for their kind and for their nearest neighbours by
    /// features.
    pub kin: &'a [usize],
    /// Folder for the changed pictures, if other programs are to search by them.
    pub save_to: Option<&'a Path>,
}

/// Encodes the items that can be read.
pub(crate) fn encode(
    hasher: &Hasher,
    items: &[&Item],
    change: batches::ChangeFn<'_>,
) -> anyhow::Result<Encoded> {
    let (mut numbers, mut codes, mut sketches, mut features) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    batches::for_each(items, hasher.card().input(), change, |batch| {
        let pixels: Vec<_> = batch.pixels.iter().collect();
        let images = hasher.upload(&pixels)?;
        let found = hasher.features(&images)?;
        for output in hasher.outputs(&images, &found, pixels.len())? {
            codes.push(output.codes);
            sketches.extend(output.sketch);
        }
        let found = found
            .f_narrow(0, 0, pixels.len() as i64)?
            .f_to_kind(Kind::Float)?;
        let length = found.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?;
        features.push(
            found
                .f_div(&length.f_clamp_min(1e-12)?)?
                .f_to_device(tch::Device::Cpu)?,
        );
        numbers.extend(batch.numbers);
        Ok::<_, ModelError>(())
    })?;
    let features = match features.is_empty() {
        true => Tensor::f_zeros([0, 1], (Kind::Float, tch::Device::Cpu)),
        false => Tensor::f_cat(&features, 0),
    };
    Ok(Encoded {
        numbers,
        codes,
        sketches,
        features: features.map_err(ModelError::from)?,
    })
}
