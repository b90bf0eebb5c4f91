//! The models follow the generations where the log of a gallery changes these: what is not here is fetched and started, what is gone is let go.
//! Knows models and generations; neither who changed them nor when.

use std::sync::Arc;

use crate::{
    index::Generation,
    inference::serving::{Models, Served, Serving, ServingError, serve},
};

impl Serving {
    /// Has the models be those of the index's generations, which the log of a gallery may have changed. One that is not here is fetched.
    ///
    /// # Errors
    /// [`ServingError`]; the models are as they were then.
    pub async fn reconcile(&self) -> Result<(), ServingError> {
        let _change = self.0.change.lock().await;
        let wanted = self.0.index.generations();
        let Models { active, standby } = self.models();
        let here: Vec<Arc<Served>> = [active].into_iter().chain(standby).collect();
        let is = |served: &Served, generation: &Generation| {
            (served.generation, served.id.as_str()) == (generation.number, &generation.model)
        };
        let find = async |generation: &Generation| {
            if let Some(served) = here.iter().find(|served| is(served, generation)) {
                return Ok::<_, ServingError>(served.clone());
            }
            self.find(&generation.model).await?;
            let (shared, generation) = (self.0.clone(), generation.clone());
            let started = tokio::task::spawn_blocking(move || {
                serve(&shared.registry, &shared.config, &generation)
            });
            let (served, workers) = started.await??;
            self.keep(workers);
            Ok(Arc::new(served))
        };
        let active = find(&wanted.active).await?;
        // It answers even if the other one cannot be fetched just now.
        let standby = wanted.standby.as_ref();
        let standby =
            standby.and_then(|generation| here.iter().find(|served| is(served, generation)));
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
