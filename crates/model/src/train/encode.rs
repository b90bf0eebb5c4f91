//! Codes of a data set's items by a finished model.
//! Knows items and models; not what the codes are compared for.

use super::{data::Item, views};
use crate::model::Hasher;
use crate::model::ModelError;
use scihcgrl_image::Pixels;
use scihcgrl_index::code::HashCode;

/// The number of an item's set of classes, and its codes by length.
pub type Coded = (usize, Vec<HashCode>);

/// The set of classes and the codes of every item that can be read, in order; those that cannot are logged.
///
/// # Errors
/// [`ModelError`].
pub fn encode(hasher: &Hasher, items: &[&Item]) -> Result<Vec<Coded>, ModelError> {
    let mut coded = Vec::with_capacity(items.len());
    views::each(items, hasher.card().input(), &views::unchanged, |batch| {
        let pixels: Vec<&Pixels> = batch.pixels.iter().collect();
        let outputs = hasher.encode(&pixels)?;
        let codes = outputs.into_iter().map(|output| output.codes);
        let sets = batch.numbers.iter().map(|&number| items[number].set);
        coded.extend(sets.zip(codes));
        Ok::<_, ModelError>(())
    })?;
    Ok(coded)
}
