//! Checkpoints on their way between replicas: beside the log, under their ids, so that whoever applies a change of models has what it needs.
//! Knows names and files; not what is in them.

use std::path::Path;

use tokio::{fs::File, io::AsyncWriteExt};

use super::{Replica, ReplicaError};

impl Replica {
    /// Sees to it that other replicas find a checkpoint by its id.
    ///
    /// # Errors
    /// [`ReplicaError::Stream`], [`File`](ReplicaError::File).
    pub async fn offer(&self, id: &str, file: &Path) -> Result<(), ReplicaError> {
        let place = &self.0.place;
        let models = place.models().await?;
        if models.info(id).await.is_ok() {
            return Ok(());
        }
        let mut file = File::open(file).await?;
        let put = models.put(id, &mut file).await;
        put.map_err(|error| place.failed(error.to_string()))?;
        Ok(())
    }

    /// Writes the checkpoint with an id to a file; whether it is whole is for the caller to see.
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    pub async fn fetch(&self, id: &str, file: &Path) -> Result<(), ReplicaError> {
        let place = &self.0.place;
        let found = place.models().await?.get(id).await;
        let mut found = found.map_err(|error| place.failed(error.to_string()))?;
        let mut file = File::create(file).await?;
        tokio::io::copy(&mut found, &mut file).await?;
        file.flush().await?;
        Ok(())
    }
}
