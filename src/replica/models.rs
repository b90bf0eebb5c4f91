//! Checkpoints that replicas exchange through an object store in NATS, under their ids. A replica
//! that applies a change of generations fetches the model from there.

use std::path::Path;

use async_nats::jetstream::object_store::{GetErrorKind, InfoErrorKind};
use futures_util::StreamExt;
use tokio::{fs::File, io::AsyncWriteExt};

use crate::replica::{Replica, ReplicaError};

impl Replica {
    /// Uploads a checkpoint under its id, unless it was uploaded already.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`], [`File`](ReplicaError::File).
    pub async fn offer(&self, id: &str, file: &Path) -> Result<(), ReplicaError> {
        let connection = &self.0.connection;
        let models = connection.models().await?;
        if models.info(id).await.is_ok_and(|there| !there.deleted) {
            return Ok(());
        }
        let mut file = File::open(file).await?;
        let put = models.put(id, &mut file).await;
        put.map_err(|error| connection.failed(error.to_string()))?;
        Ok(())
    }

    /// Writes the checkpoint with an id to a file. Returns false if there is none. The caller must
    /// check that the file is complete.
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    pub async fn fetch(&self, id: &str, file: &Path) -> Result<bool, ReplicaError> {
        let connection = &self.0.connection;
        let mut found = match connection.models().await?.get(id).await {
            Ok(found) => found,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(connection.failed(error.to_string())),
        };
        let mut file = File::create(file).await?;
        tokio::io::copy(&mut found, &mut file).await?;
        file.flush().await?;
        Ok(true)
    }

    /// Returns the ids of all offered checkpoints.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn offered(&self) -> Result<Vec<String>, ReplicaError> {
        let connection = &self.0.connection;
        let failed = |error: &dyn std::fmt::Display| connection.failed(error.to_string());
        let mut listed =
            (connection.models().await?.list().await).map_err(|error| failed(&error))?;
        let mut ids = Vec::new();
        while let Some(one) = listed.next().await {
            ids.push(one.map_err(|error| failed(&error))?.name);
        }
        Ok(ids)
    }

    /// Returns true if a checkpoint was offered and then withdrawn.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn is_withdrawn(&self, id: &str) -> Result<bool, ReplicaError> {
        let connection = &self.0.connection;
        match connection.models().await?.info(id).await {
            Ok(info) => Ok(info.deleted),
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(false),
            Err(error) => Err(connection.failed(error.to_string())),
        }
    }

    /// Removes an offered checkpoint, if there is one.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`].
    pub async fn withdraw(&self, id: &str) -> Result<(), ReplicaError> {
        let connection = &self.0.connection;
        if !self.offered().await?.iter().any(|offered| offered == id) {
            return Ok(());
        }
        let deleted = connection.models().await?.delete(id).await;
        deleted.map_err(|error| connection.failed(error.to_string()))
    }
}
