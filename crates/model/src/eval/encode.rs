//! Encodes the items of a data set with a model.

use scihcgrl_image::Pixels;
use scihcgrl_index::code::HashCode;

use crate::{
    error::ModelError,
    hasher::Hasher,
    train::data::{batches, collection::Item},
};

/// The number of an item's set of classes, and its codes by length.
pub type CodedItem = (usize, Vec<HashCode>);

/// Returns the set of classes and the codes of every readable item, in order. Logs the items that
/// cannot be read.
///
/// # Errors
/// [`ModelError`].
pub fn encode(hasher: &Hasher, items: &[&Item]) -> Result<Vec<CodedItem>, ModelError> {
    let mut coded = Vec::with_capacity(items.len());
    batches::for_each(items, hasher.card().input(), &batches::unchanged, |batch| {
        let pixels: Vec<&Pixels> = batch.pixels.iter().collect();
        let outputs = hasher.encode(&pixels)?;
        let codes = outputs.into_iter().map(|output| output.codes);
        let sets = batch.numbers.iter().map(|&number| items[number].set);
        coded.extend(sets.zip(codes));
        Ok::<_, ModelError>(())
    })?;
    Ok(coded)
}
