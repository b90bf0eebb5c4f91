//! Checkpoints that replicas share. A checkpoint that is added or removed at one replica is added
//! or removed at all.

use std::path::Path;

use crate::{
    inference::{
        registry::{Entry, is_id},
        serving::{Serving, ServingError, Shared},
    },
    replica::Replica,
};

impl Serving {
    /// Adds a checkpoint here and offers it to the other replicas.
    ///
    /// # Errors
    /// [`ServingError::Registry`] if it is not a checkpoint; [`Replica`](ServingError::Replica) if
    /// it was added here and could not be offered.
    pub async fn add(&self, file: &Path) -> Result<Entry, ServingError> {
        let (registry, file) = (self.0.registry.clone(), file.to_owned());
        let entry = tokio::task::spawn_blocking(move || registry.add(&file)).await??;
        if let Some(replica) = &self.0.replica {
            replica.offer(&entry.id, &entry.path).await?;
        }
        Ok(entry)
    }

    /// Returns the checkpoint with an id, if there is one. Fetches it from the other replicas if it
    /// is not here.
    ///
    /// # Errors
    /// [`ServingError::Registry`], [`Replica`](ServingError::Replica).
    pub async fn find(&self, id: &str) -> Result<Option<Entry>, ServingError> {
        let Shared {
            registry, replica, ..
        } = &*self.0;
        let (here, of) = (registry.clone(), id.to_owned());
        let found = tokio::task::spawn_blocking(move || here.get(&of)).await??;
        let (None, Some(replica), true) = (&found, replica, is_id(id)) else {
            return Ok(found);
        };
        let temp_path = registry.temp_path();
        if !replica.fetch(id, &temp_path).await? {
            return Ok(None);
        }
        let taken = registry.clone();
        let added = tokio::task::spawn_blocking(move || {
            let added = taken.add(&temp_path);
            let _ = std::fs::remove_file(&temp_path);
            added
        });
        Ok(Some(added.await??))
    }

    /// Returns all checkpoints, oldest first. If the other replicas can be reached, first fetches
    /// the checkpoints that they have and removes those that they removed.
    ///
    /// # Errors
    /// [`ServingError::Registry`].
    pub async fn list(&self) -> Result<Vec<Entry>, ServingError> {
        if let Some(replica) = &self.0.replica
            && let Err(error) = self.sync_registry(replica).await
        {
            tracing::warn!(%error, "models of other replicas may be missing from the list");
        }
        let registry = self.0.registry.clone();
        Ok(tokio::task::spawn_blocking(move || registry.list()).await??)
    }

    async fn sync_registry(&self, replica: &Replica) -> Result<(), ServingError> {
        let offered = replica.offered().await?;
        for id in &offered {
            self.find(id).await?;
        }
        let registry = self.0.registry.clone();
        let registered = tokio::task::spawn_blocking(move || registry.list()).await??;
        let now = self.0.index.generations();
        let is_used =
            |id: &str| now.active.model == id || now.standby.iter().any(|of| of.model == id);
        for Entry { id, .. } in registered {
            if !offered.contains(&id) && !is_used(&id) && replica.is_withdrawn(&id).await? {
                let registry = self.0.registry.clone();
                tokio::task::spawn_blocking(move || registry.remove(&id)).await??;
            }
        }
        Ok(())
    }

    /// Removes an unused checkpoint, here and at the other replicas.
    ///
    /// # Errors
    /// [`ServingError::Registry`], [`Replica`](ServingError::Replica).
    pub async fn remove(&self, id: &str) -> Result<(), ServingError> {
        if let Some(replica) = &self.0.replica {
            replica.withdraw(id).await?;
        }
        let (registry, id) = (self.0.registry.clone(), id.to_owned());
        tokio::task::spawn_blocking(move || registry.remove(&id)).await??;
        Ok(())
    }
}
