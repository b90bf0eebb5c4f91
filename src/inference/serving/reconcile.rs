//! Changes the served models after the log of a gallery has changed the generations. Fetches and
//! starts new models, and stops models whose generation is gone.

use std::sync::Arc;

use crate::{
    index::Generation,
    inference::serving::{Models, ServedModel, Serving, ServingError, serve},
};

impl Serving {
    /// Makes the served models match the index's generations. Fetches a model that is not here.
    ///
    /// # Errors
    /// [`ServingError`]. The standby model may then be missing, but a new active model is served if
    /// it could be started.
    pub async fn reconcile(&self) -> Result<(), ServingError> {
        let _change = self.0.change.lock().await;
        let wanted = self.0.index.generations();
        let Models { active, standby } = self.models();
        let served_now: Vec<Arc<ServedModel>> = [active].into_iter().chain(standby).collect();
        let matches = |served: &ServedModel, generation: &Generation| {
            (served.generation, served.id.as_str()) == (generation.number, &generation.model)
        };
        let find = async |generation: &Generation| {
            if let Some(served) = served_now.iter().find(|served| matches(served, generation)) {
                return Ok::<_, ServingError>(served.clone());
            }
            self.find(&generation.model).await?;
            let (shared, generation) = (self.0.clone(), generation.clone());
            let started = tokio::task::spawn_blocking(move || {
                serve(&shared.registry, &shared.config, &generation)
            });
            let (served, workers) = started.await??;
            self.keep_workers(workers);
            Ok(Arc::new(served))
        };
        let active = find(&wanted.active).await?;
        // The active model is served even if the standby model cannot be fetched now.
        let standby = wanted.standby.as_ref();
        let standby = standby
            .and_then(|generation| served_now.iter().find(|served| matches(served, generation)));
        self.change(|models| {
            *models = Models {
                active: active.clone(),
                standby: standby.cloned(),
            };
        });
        let standby = match &wanted.standby {
            Some(generation) => Some(find(generation).await?),
            None => None,
        };
        self.change(|models| *models = Models { active, standby });
        Ok(())
    }
}
