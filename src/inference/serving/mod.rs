//! The served models: the active one, and the standby one if there is a standby generation, each
//! with its workers.
//!
//! - `reconcile`: changes the models after the log has changed the generations
//! - `shared`: checkpoints that replicas share
//! - `error`: why a model cannot be served

mod error;
mod reconcile;
mod shared;

use std::{
    iter::repeat_n,
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
};

use crate::{
    config::{Compute, Precision},
    index::{Generation, Index},
    inference::{
        batch::{BatchConfig, Batcher, Started},
        registry::{Entry, Registry},
    },
    model::{self, Card, Hasher, ModelError},
    replica::Replica,
};
use clap::ValueEnum;
use parking_lot::{Mutex, RwLock};

pub use error::ServingError;

/// A model with its workers, and the generation of its codes. The workers live as long as anyone
/// holds it.
pub struct ServedModel {
    /// The generation's number.
    pub generation: u32,
    /// The model's id.
    pub id: String,
    pub card: Card,
    /// The numeric type that it computes in.
    pub precision: Precision,
    pub batcher: Batcher,
}

#[derive(Clone)]
pub struct Models {
    /// The model of the active generation.
    pub active: Arc<ServedModel>,
    /// The model of the standby generation, if there is one.
    pub standby: Option<Arc<ServedModel>>,
}

#[derive(Clone)]
pub struct ServingConfig {
    /// The devices of the models. Each model computes in the numeric type of its generation.
    pub compute: Compute,
    pub batching: BatchConfig,
}

/// A handle on the models, cheap to clone.
#[derive(Clone)]
pub struct Serving(Arc<Shared>);

struct Shared {
    index: Index,
    registry: Registry,
    config: ServingConfig,
    models: RwLock<Models>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    /// The replica, if the service is one of several. It gives access to the shared models and the
    /// log.
    replica: Option<Replica>,
    /// Held while the models and their generations change together.
    change: tokio::sync::Mutex<()>,
}

impl Serving {
    /// Starts the models of an index's generations. If the standby model cannot be started, logs
    /// the error. Its generation then gets no codes until the model starts or is replaced.
    ///
    /// # Errors
    /// [`ServingError`] if the active model cannot be started.
    pub fn start(
        index: Index,
        registry: Registry,
        config: ServingConfig,
        replica: Option<Replica>,
    ) -> Result<Self, ServingError> {
        let mut workers = Vec::new();
        let generations = index.generations();
        let mut start = |generation: &Generation| -> Result<Arc<ServedModel>, ServingError> {
            let (served, threads) = serve(&registry, &config, generation)?;
            workers.extend(threads);
            Ok(Arc::new(served))
        };
        let active = start(&generations.active)?;
        let standby = generations.standby.and_then(|generation| {
            let standby = start(&generation);
            standby
                .inspect_err(|error| {
                    tracing::error!(%error, model = generation.model, "the standby model cannot be started");
                })
                .ok()
        });
        Ok(Serving(Arc::new(Shared {
            index,
            registry,
            config,
            models: RwLock::new(Models { active, standby }),
            workers: Mutex::new(workers),
            replica,
            change: tokio::sync::Mutex::default(),
        })))
    }

    /// Returns the models as they are now. A search calls this once, so that it compares codes of
    /// one model.
    pub fn models(&self) -> Models {
        let models = self.0.models.read();
        models.clone()
    }

    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub fn compute(&self) -> &Compute {
        &self.0.config.compute
    }

    /// Begins a standby generation of a model, and replaces the existing one, if any. Returns the
    /// model's checkpoint and the generation's number. From then on, images are written with codes
    /// of both generations.
    ///
    /// # Errors
    /// [`ServingError`]; [`Active`](ServingError::Active) if the model is the active one.
    pub async fn begin(&self, id: &str) -> Result<(Entry, u32), ServingError> {
        let change = self.0.change.lock().await;
        let no_model = || ServingError::NoModel { id: id.to_owned() };
        let entry = self.find(id).await?.ok_or_else(no_model)?;
        let models = self.models();
        if models.active.id == id {
            return Err(ServingError::Active { id: id.to_owned() });
        }
        if let Some(standby) = models.standby.filter(|standby| standby.id == id) {
            return Ok((entry, standby.generation));
        }
        let precision = models.active.precision.to_string();
        let wanted = Generation::new(
            id.to_owned(),
            precision,
            &entry.card.lengths,
            entry.card.sketch,
        )?;
        if let Some(replica) = &self.0.replica {
            replica.offer(id, &entry.path).await?;
            drop(change);
            // Every replica, including this one, starts the model when it applies the write.
            return Ok((entry, self.0.index.begin(wanted).await?));
        }
        let (shared, generation) = (self.0.clone(), wanted.clone());
        let started = tokio::task::spawn_blocking(move || {
            serve(&shared.registry, &shared.config, &generation)
        });
        let (mut served, workers) = started.await??;
        let number = self.0.index.begin(wanted).await?;
        served.generation = number;
        self.keep_workers(workers);
        self.change(|models| models.standby = Some(Arc::new(served)));
        Ok((entry, number))
    }

    /// Makes the standby generation active; the previous one becomes standby.
    ///
    /// # Errors
    /// [`ServingError::Index`], with
    /// [`IndexError::Unfinished`](crate::index::IndexError::Unfinished) if images lack codes in it.
    pub async fn activate(&self, number: u32) -> Result<(), ServingError> {
        // Runs in a separate task, because a caller that leaves after the commit must not prevent
        // the change of models.
        let serving = self.clone();
        tokio::spawn(async move { serving.switch(number).await }).await?
    }

    async fn switch(&self, number: u32) -> Result<(), ServingError> {
        if self.0.replica.is_some() {
            return Ok(self.0.index.activate(number).await?);
        }
        let _change = self.0.change.lock().await;
        self.0.index.activate(number).await?;
        self.change(|models| {
            if let Some(standby) = &mut models.standby {
                std::mem::swap(&mut models.active, standby);
            }
        });
        Ok(())
    }

    /// Discards the standby generation and its model.
    ///
    /// # Errors
    /// [`ServingError::Index`].
    pub async fn discard(&self) -> Result<(), ServingError> {
        if self.0.replica.is_some() {
            return Ok(self.0.index.discard().await?);
        }
        let _change = self.0.change.lock().await;
        self.change(|models| models.standby = None);
        Ok(self.0.index.discard().await?)
    }

    fn change(&self, change: impl FnOnce(&mut Models)) {
        change(&mut self.0.models.write());
    }

    /// Keeps threads to join them at the end, and drops those that have ended.
    fn keep_workers(&self, threads: Vec<JoinHandle<()>>) {
        let workers = self.0.workers.lock();
        let mut workers = workers;
        workers.retain(|worker| !worker.is_finished());
        workers.extend(threads);
    }

    /// Drops all models and waits for their threads. Blocks while others hold a model.
    pub fn close(self) {
        let Some(shared) = Arc::into_inner(self.0) else {
            tracing::error!("the models are still in use");
            return;
        };
        drop(shared.models);
        let workers = shared.workers.into_inner();
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a model's thread panicked");
            }
        }
    }
}

/// Starts the workers of a generation's model, in the type of its codes.
fn serve(
    registry: &Registry,
    config: &ServingConfig,
    generation: &Generation,
) -> Result<(ServedModel, Vec<JoinHandle<()>>), ServingError> {
    let id = generation.model.clone();
    let entry = (registry.get(&id)?).ok_or_else(|| ServingError::NoModel { id: id.clone() })?;
    let precision = Precision::from_str(&generation.precision, false);
    let precision = precision.map_err(|_| ServingError::Precision {
        precision: generation.precision.clone(),
    })?;
    let compute = Compute {
        precision,
        ..config.compute.clone()
    };
    let started = Batcher::start(loaders(&entry.path, &compute), config.batching)?;
    let Started {
        batcher,
        workers,
        card,
        model_id: id,
    } = started;
    let served = ServedModel {
        generation: generation.number,
        id,
        card,
        precision,
        batcher,
    };
    Ok((served, workers))
}

/// Returns a loader of the model for each device. A CPU counts as one single-threaded device per
/// core, unless the number of threads is configured. OpenMP's threads wait for each other after
/// every operation, so a model with many threads is slow while it does not get all cores at once.
fn loaders(
    model: &Path,
    compute: &Compute,
) -> Vec<impl FnOnce() -> Result<Hasher, ModelError> + Send + 'static> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let devices = compute.device.split(',').map(str::trim);
    let devices = devices.flat_map(|device| {
        let is_spread = compute.threads.is_none() && matches!(model::is_cpu(device), Ok(true));
        let one = Compute {
            device: device.to_owned(),
            threads: if is_spread { Some(1) } else { compute.threads },
            ..compute.clone()
        };
        repeat_n(one, if is_spread { cores } else { 1 })
    });
    let loader = |compute| {
        let model = model.to_owned();
        move || Hasher::load_with(&model, &compute)
    };
    devices.map(loader).collect()
}
