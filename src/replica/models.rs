//! Checkpoints on their way between replicas: beside the log, under their ids, so that whoever applies a change of models has what it needs.
//! Knows names and files; not what is in them.

use std::path::Path;

use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind};
use futures_util::StreamExt;
use tokio::{fs::File, io::AsyncWriteExt};

use crate::replica::{Replica, ReplicaError};

impl Replica {
    /// Sees to it that other replicas find a checkpoint by its id.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`], [`File`](ReplicaError::File).
    pub async fn offer(&self, id: &str, file: &Path) -> Result<(), ReplicaError> {
        let place = &self.0.place;
        let models = place.models().await?;
        if models.info(id).await.is_ok_and(|there| !there.deleted) {
            return Ok(());
        }
        let mut file = File::open(file).await?;
        let put = models.put(id, &mut file).await;
        put.map_err(|error| place.failed(error.to_string()))?;
        Ok(())
    }

    /// Writes the checkpoint with an id to a file, and tells whether there is one; whether it is whole is for the caller to see.
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    pub async fn fetch(&self, id: &str, file: &Path) -> Result<bool, ReplicaError> {
        let place = &self.0.place;
        let mut found = match place.models().await?.get(id).await {
            Ok(found) => found,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(place.failed(error.to_string())),
        };
        let mut file = File::create(file).await?;
        tokio::io::copy(&mut found, &mut file).await?;
        file.flush().await?;
        Ok(true)
    }

    /// The ids of all checkpoints that are offered.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn offered(&self) -> Result<Vec<String>, ReplicaError> {
        let place = &self.0.place;
        let failed = |error: &dyn std::fmt::Display| place.failed(error.to_string());
        let mut listed = (place.models().await?.list().await).map_err(|error| failed(&error))?;
        let mut ids = Vec::new();
        while let Some(one) = listed.next().await {
            ids.push(one.map_err(|error| failed(&error))?.name);
        }
        Ok(ids)
    }

    /// Whether a checkpoint was offered and is no longer.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn is_withdrawn(&self, id: &str) -> Result<bool, ReplicaError> {
        let place = &self.0.place;
        match place.models().await?.info(id).await {
            Ok(told) => Ok(told.deleted),
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(false),
            Err(error) => Err(place.failed(error.to_string())),
        }
    }

    /// Has a checkpoint go that was offered, if it was.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn withdraw(&self, id: &str) -> Result<(), ReplicaError> {
        let place = &self.0.place;
        if !self.offered().await?.iter().any(|offered| offered == id) {
            return Ok(());
        }
        let deleted = place.models().await?.delete(id).await;
        deleted.map_err(|error| place.failed(error.to_string()))
    }
}
