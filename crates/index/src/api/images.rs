//! Stores, changes, reads and deletes single images.

use serde_json::Value;

use crate::{
    api::Index,
    read::reading::Lookup,
    types::{
        error::IndexError,
        filter::Filter,
        id::ImageId,
        record::{NewImage, Record, Times},
        revision::Precondition,
        write::{Outcome, Write},
    },
};

impl Index {
    /// Inserts or replaces an image; returns its record, and true if it is new. Returns when it is
    /// on disk. A replaced image keeps its age and its time of creation.
    ///
    /// # Errors
    /// - [`IndexError::WrongCodes`], [`Sketch`](IndexError::Sketch),
    ///   [`Payload`](IndexError::Payload), [`OriginalKey`](IndexError::OriginalKey), or
    ///   [`Generation`](IndexError::Generation) if codes of the active generation are missing: the
    ///   image is refused.
    /// - [`Store`](IndexError::Store), [`Corrupt`](IndexError::Corrupt): the image of this id
    ///   cannot be read.
    /// - [`Write`](IndexError::Write): the commit failed, with the reason as its source, such as a
    ///   full disk.
    /// - [`Full`](IndexError::Full), [`Closed`](IndexError::Closed): no more images can be stored.
    pub async fn put(&self, image: NewImage) -> Result<(Record, bool), IndexError> {
        self.put_if(image, Precondition::default()).await
    }

    /// Same as [`put`](Self::put), if the image with this id meets the precondition when the write
    /// is applied.
    ///
    /// # Errors
    /// As [`put`](Self::put), and [`IndexError::PreconditionFailed`];
    /// [`Filter`](IndexError::Filter) if the precondition has a filter that is malformed or does
    /// not suit the fields.
    pub async fn put_if(
        &self,
        image: NewImage,
        precondition: Precondition,
    ) -> Result<(Record, bool), IndexError> {
        let id = image.id.clone();
        match self
            .write(Write::put(image).only_if(id, precondition))
            .await?
        {
            Outcome::Put(record, created) => Ok((*record, created)),
            _ => Err(IndexError::Closed),
        }
    }

    /// Changes the labels, the payload or both of an image; `None` keeps the old value. Returns
    /// `None` if there is no such image.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if).
    pub async fn patch(
        &self,
        id: ImageId,
        labels: Option<Vec<String>>,
        payload: Option<Option<Value>>,
        precondition: Precondition,
    ) -> Result<Option<Record>, IndexError> {
        let write = Write::patch(id.clone(), labels, payload);
        match self.write(write.only_if(id, precondition)).await? {
            Outcome::Patched(record) => Ok(record.map(|record| *record)),
            _ => Err(IndexError::Closed),
        }
    }

    /// Changes the labels of an image and merges a patch into its payload. Returns `None` if there
    /// is no such image.
    ///
    /// `labels` replaces the labels, if given. Then `remove_labels` are removed, and `add_labels`
    /// are added. `payload` is a JSON merge patch (RFC 7396): null removes a member, and an image
    /// without a payload counts as one with an empty object. It keeps no payload if the object
    /// remains empty.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if).
    pub async fn merge(
        &self,
        id: ImageId,
        labels: Option<Vec<String>>,
        add_labels: Vec<String>,
        remove_labels: Vec<String>,
        payload: Option<Value>,
        precondition: Precondition,
    ) -> Result<Option<Record>, IndexError> {
        let write = Write::Merge {
            id: id.clone(),
            labels,
            add_labels,
            remove_labels,
            payload,
            at_ms: Times::now().updated_at_ms,
        };
        match self.write(write.only_if(id, precondition)).await? {
            Outcome::Patched(record) => Ok(record.map(|record| *record)),
            _ => Err(IndexError::Closed),
        }
    }

    /// Deletes an image. Returns true if it existed.
    ///
    /// # Errors
    /// As [`put_if`](Self::put_if).
    pub async fn delete(
        &self,
        id: ImageId,
        precondition: Precondition,
    ) -> Result<bool, IndexError> {
        let write = Write::Delete { id: id.clone() };
        match self.write(write.only_if(id, precondition)).await? {
            Outcome::Deleted(found) => Ok(found),
            _ => Err(IndexError::Closed),
        }
    }

    /// Checks a precondition against the image as it is now. A later write may still find it
    /// changed.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`IndexError::PreconditionFailed`];
    /// [`Filter`](IndexError::Filter) if the precondition has a filter that is malformed or does
    /// not suit the fields.
    pub fn check_precondition(
        &self,
        id: &ImageId,
        precondition: &Precondition,
    ) -> Result<(), IndexError> {
        let found = self.get(id)?;
        let present = found.as_ref().map(|record| record.revision);
        let holds = precondition.holds(present.as_ref());
        let passes = match &precondition.passes {
            Some(filter) if holds => {
                let view = self.0.store.view();
                let fields = view.active.directory.fields();
                let condition = filter.parse::<Filter>()?.resolve(fields)?;
                found.is_some_and(|record| condition.holds(fields, &record.subject()))
            }
            _ => true,
        };
        if holds && passes {
            return Ok(());
        }
        Err(IndexError::PreconditionFailed {
            id: id.clone(),
            present,
            is_filtered: !passes,
        })
    }

    /// Returns an image, with its codes in the active generation.
    ///
    /// # Errors
    /// [`IndexError::Store`], [`Corrupt`](IndexError::Corrupt).
    pub fn get(&self, id: &ImageId) -> Result<Option<Record>, IndexError> {
        self.get_in(None, id)
    }

    /// Returns an image, with its codes in one generation; `None` means the active one.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`IndexError::Generation`] if the generation no longer exists.
    pub fn get_in(
        &self,
        generation: Option<u32>,
        id: &ImageId,
    ) -> Result<Option<Record>, IndexError> {
        self.0
            .store
            .read_consistent(generation, |directory, reading| {
                Ok(match reading.sequence_of(directory, id)? {
                    Lookup::Found(sequence) => reading.record(sequence)?.map(Some),
                    Lookup::Absent => Some(None),
                    Lookup::Inconsistent => None,
                })
            })
    }
}
