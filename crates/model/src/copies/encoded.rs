//! The codes, sketches and features of images.

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

/// The images with which copies and kin are measured.
pub struct TestSet<'a> {
    /// The images to search.
    pub items: &'a [&'a Item],
    /// The classes of each set of the items. If an item's set is empty, its kind is unknown. Kinds
    /// are measured only if at least two sets have classes.
    pub sets: &'a [Vec<usize>],
    /// Numbers of the items whose changed copies are the queries.
    pub copied: &'a [usize],
    /// Numbers of the items that are queries for images of their kind and for their nearest
    /// neighbours by features.
    pub kin: &'a [usize],
    /// The folder in which to save the changed pictures, so that other programs can search with
    /// them.
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
    let features = if features.is_empty() {
        Tensor::f_zeros([0, 1], (Kind::Float, tch::Device::Cpu))
    } else {
        Tensor::f_cat(&features, 0)
    };
    Ok(Encoded {
        numbers,
        codes,
        sketches,
        features: features.map_err(ModelError::from)?,
    })
}
