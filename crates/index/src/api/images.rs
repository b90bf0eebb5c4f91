//! Storing, changing, reading and deleting single images.

use serde_json::Value;

use crate::{
    api::Index,
    types::{
        error::IndexError,
        id::ImageId,
        record::{NewImage, Record},
        revision::Precondition,
        write::{Outcome, Write},
    },
};

impl Index {
    /// Inserts or replaces an image and tells whether it is new; returns when it is on disk. A replaced image keeps its
    /// age and its time of creation.
    ///
    /// # Errors
    /// [`IndexError::WrongCodes`], [`Generation`](IndexError::Generation) where codes of the active generation are lacking,
    /// [`Payload`](IndexError::Payload), [`Closed`](IndexError::Closed),
    /// [`Store`](IndexError::Store), [`Corrupt`](IndexError::Corrupt).
    pub async fn put(&self, image: NewImage) -> Result<(Record, bool), IndexError> {
        self.put_if(image, Precondition::default()).await
    }

    /// As [`put`](Self::put), if the image with its id is as expected when the write's turn comes.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::PreconditionFailed`].
    pub async fn put_if(
        &self,
        image: NewImage,
        expected: Precondition,
    ) -> Result<(Record, bool), IndexError> {
        let id = image.id.clone();
        match self.write(Write::put(image).only_if(id, expected)).await? {
            Outcome::Put(record, created) => Ok((*record, created)),
            _ => Err(IndexError::Closed),
        }
    }

    /// Changes the labels, the payload or both of an image, each where given; `None` where there is no such image.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if).
    pub async fn patch(
        &self,
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
        expected: Precondition,
    ) -> Result<Option<Record>, IndexError> {
        let write = Write::patch(id.clone(), labels, payload);
        match self.write(write.only_if(id, expected)).await? {
            Outcome::Patched(record) => Ok(record.map(|record| *record)),
            _ => Err(IndexError::Closed),
        }
    }

    /// Removes an image and tells whether there was one.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if).
    pub async fn delete(&self, id: ImageId, expected: Precondition) -> Result<bool, IndexError> {
        let write = Write::Delete { id: id.clone() };
        match self.write(write.only_if(id, expected)).await? {
            Outcome::Deleted(found) => Ok(found),
            _ => Err(IndexError::Closed),
        }
    }

    /// Whether an image is as expected just now; it may be another when a write comes to it.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`IndexError::PreconditionFailed`].
    pub fn expect(&self, id: &ImageId, expected: &Precondition) -> Result<(), IndexError> {
        let present = self.get(id)?.map(|record| record.revision);
        match expected.holds(present.as_ref()) {
            true => Ok(()),
            false => Err(IndexError::PreconditionFailed {
                id: id.clone(),
                present,
            }),
        }
    }

    /// An image, with its codes in the active generation.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Corrupt`](IndexError::Corrupt).
    pub fn get(&self, id: &ImageId) -> Result<Option<Record>, IndexError> {
        self.get_in(None, id)
    }

    /// An image, with its codes in a generation.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`IndexError::Generation`] where there is no such generation any more.
    pub fn get_in(
        &self,
        generation: Option<u32>,
        id: &ImageId,
    ) -> Result<Option<Record>, IndexError> {
        self.0
            .store
            .read_consistent(generation, |directory, reading| {
                Ok(match reading.place(directory, id)? {
                    Some(Some(sequence)) => reading.record(sequence)?.map(Some),
                    Some(None) => Some(None),
                    None => None,
                })
            })
    }
}
