//! Declares, builds and deletes fields.

use std::ops::Range;

use serde::Serialize;

use crate::{
    api::Index,
    types::{
        error::IndexError,
        field::{Field, FieldPath, FieldType, word},
        write::{Outcome, Write},
    },
};

/// A field with numbers about its values, counted in the images that are built so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldStatus {
    /// The field.
    #[serde(flatten)]
    pub field: Field,
    /// The number of held values. An image with several different values counts once for each.
    pub values: u64,
    /// The number of images with a value that the field does not hold.
    pub not_held: u64,
    /// The number of images with null.
    pub null: u64,
    /// The number of images with an empty array.
    pub empty: u64,
}

impl Index {
    /// Returns the declared fields, by ascending number.
    pub fn fields(&self) -> Vec<FieldStatus> {
        let view = self.0.store.view();
        let directory = &view.active.directory;
        let fields = directory.fields().iter().map(|field| {
            let count = |words| directory.count_values(field.number, &words) as u64;
            let of = |word| count(word..=word);
            FieldStatus {
                values: count(word::VALUES),
                not_held: of(word::NOT_HELD),
                null: of(word::NULL),
                empty: of(word::EMPTY),
                field: field.clone(),
            }
        });
        fields.collect()
    }

    /// Declares a field, and returns it. Returns the existing field if the same path is declared
    /// with the same type.
    ///
    /// From now on, writes of images store their values. The field is built at once if there are no
    /// images. Otherwise, [`build_field`](Self::build_field) stores the values of the images that
    /// are there, and [`finish_field`](Self::finish_field) lets filters use the field.
    ///
    /// # Errors
    /// As [`put`](Self::put), [`IndexError::FieldType`] if it is declared with another type,
    /// [`IndexError::ManyFields`], [`IndexError::ReservedField`] if the path is that of a property
    /// of images.
    pub async fn declare(&self, path: FieldPath, kind: FieldType) -> Result<Field, IndexError> {
        match self.write(Write::Declare { path, kind }).await? {
            Outcome::Field(field) => Ok(field),
            _ => Err(IndexError::Closed),
        }
    }

    /// Stores the values of a field for the images on a range of row pages; see
    /// [`pages`](Self::pages). Changes nothing for images that have them, so it can be repeated.
    /// One write, during which other writes wait: a page has 32 images, so pass some dozens of
    /// pages. Skips damaged pages and payloads.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::NoSuchField`].
    pub async fn build_field(&self, number: u32, pages: Range<u32>) -> Result<(), IndexError> {
        let write = Write::BuildField { number, pages };
        self.write(write).await.map(drop)
    }

    /// Marks a field as built, so that filters can use it. Call it after
    /// [`build_field`](Self::build_field) for all row pages that there were after the declaration.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::NoSuchField`].
    pub async fn finish_field(&self, number: u32) -> Result<(), IndexError> {
        self.write(Write::FieldBuilt { number }).await.map(drop)
    }

    /// Deletes a field with its values; payloads stay as they are. Returns true if it existed.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete_field(&self, path: FieldPath) -> Result<bool, IndexError> {
        let Outcome::Deleted(existed) = self.write(Write::DeleteField { path }).await? else {
            return Err(IndexError::Closed);
        };
        self.purge().await?;
        Ok(existed)
    }
}

#[cfg(test)]
mod tests;
