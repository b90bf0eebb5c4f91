//! The checkpoints that replicas have from each other: what one of them gets, the others find, and what it removes goes everywhere.
//! Knows registries and the place between them; neither what a model is used for nor who trained it.

use std::path::Path;

use crate::{
    inference::{
        registry::{Entry, is_id},
        serving::{Serving, ServingError, Shared},
    },
    replica::Replica,
};

impl Serving {
    /// Takes a checkpoint in, here and for the other replicas.
    ///
    /// # Errors
    /// [`ServingError::Registry`] where it is none; [`Replica`](ServingError::Replica) where the others cannot have it, and it is here then.
    pub async fn add(&self, file: &Path) -> Result<Entry, ServingError> {
        let (registry, file) = (self.0.registry.clone(), file.to_owned());
        let entry = tokio::task::spawn_blocking(move || registry.add(&file)).await??;
        if let Some(replica) = &self.0.replica {
            replica.offer(&entry.id, &entry.path).await?;
        }
        Ok(entry)
    }

    /// A checkpoint by its id, if there is one: from another replica where it is not here yet.
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

    /// All checkpoints, the oldest first. What other replicas have is fetched and what they removed goes; where they cannot be asked, those here.
    ///
    /// # Errors
    /// [`ServingError::Registry`].
    pub async fn all(&self) -> Result<Vec<Entry>, ServingError> {
        if let Some(replica) = &self.0.replica
            && let Err(error) = self.compare(replica).await
        {
            tracing::warn!(%error, "models of other replicas may be missing");
        }
        let registry = self.0.registry.clone();
        Ok(tokio::task::spawn_blocking(move || registry.list()).await??)
    }

    async fn compare(&self, replica: &Replica) -> Result<(), ServingError> {
        let offered = replica.offered().await?;
        for id in &offered {
            self.find(id).await?;
        }
        let registry = self.0.registry.clone();
        let here = tokio::task::spawn_blocking(move || registry.list()).await??;
        let now = self.0.index.generations();
        let is_used =
            |id: &str| now.active.model == id || now.standby.iter().any(|of| of.model == id);
        for Entry { id, .. } in here {
            if !offered.contains(&id) && !is_used(&id) && replica.is_withdrawn(&id).await? {
                let registry = self.0.registry.clone();
                tokio::task::spawn_blocking(move || registry.remove(&id)).await??;
            }
        }
        Ok(())
    }

    /// Removes a checkpoint that is in no use, here and at the other replicas.
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
