//! The models that answer: the active one, and one beside it whose generation is being made or was active before, each with its workers.
//! Knows which codes belong to which generation; neither who asks nor what is trained.

mod error;
mod reconcile;
mod shared;

use std::{
    iter::repeat_n,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
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

pub use error::ServingError;

/// A model with its workers, and the generation of its codes. Who holds it keeps its workers alive.
pub struct Served {
    /// The generation.
    pub generation: u32,
    /// The model's id.
    pub id: String,
    /// What the model is.
    pub card: Card,
    /// The numeric type that it computes in.
    pub precision: Precision,
    /// What makes its codes.
    pub batcher: Batcher,
}

/// The models of one moment.
#[derive(Clone)]
pub struct Models {
    /// The one whose codes are searched.
    pub active: Arc<Served>,
    /// One whose codes are kept beside them.
    pub standby: Option<Arc<Served>>,
}

/// How models are served.
#[derive(Clone)]
pub struct ServingConfig {
    /// Where they compute; what type, their generations say.
    pub compute: Compute,
    /// How batches are formed.
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
    /// Where models come from and changes go, where the service is one of several.
    replica: Option<Replica>,
    /// Held by whoever changes the models and their generations together.
    change: tokio::sync::Mutex<()>,
}

impl Serving {
    /// Starts the models of an index's generations. One beside that cannot be started is told of, and its generation waits until it can
    /// or is replaced.
    ///
    /// # Errors
    /// [`ServingError`] where the active one cannot be.
    pub fn start(
        index: Index,
        registry: Registry,
        config: ServingConfig,
        replica: Option<Replica>,
    ) -> Result<Self, ServingError> {
        let mut workers = Vec::new();
        let generations = index.generations();
        let mut start = |generation: &Generation| -> Result<Arc<Served>, ServingError> {
            let (served, threads) = serve(&registry, &config, generation)?;
            workers.extend(threads);
            Ok(Arc::new(served))
        };
        let active = start(&generations.active)?;
        let standby = generations.standby.and_then(|generation| {
            let standby = start(&generation);
            standby
                .inspect_err(|error| {
                    tracing::error!(%error, model = generation.model, "the model beside is not started");
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

    /// The models as they are now. A search takes them once, so that its code and what it is compared with are of one model.
    pub fn models(&self) -> Models {
        let models = self.0.models.read();
        models.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The checkpoints that there are.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Where models compute.
    pub fn compute(&self) -> &Compute {
        &self.0.config.compute
    }

    /// Has a model's generation begin beside the active one, in the place of whichever is there, and tells its checkpoint and the
    /// generation's number. From then on images are written with codes of both.
    ///
    /// # Errors
    /// [`ServingError`]; [`Active`](ServingError::Active) where it is the active one.
    pub async fn begin(&self, id: &str) -> Result<(Entry, u32), ServingError> {
        let _change = self.0.change.lock().await;
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
            drop(_change);
            // Every replica, this one too, starts the model when it applies that.
            return Ok((entry, self.0.index.begin(wanted).await?));
        }
        let (shared, generation) = (self.0.clone(), wanted.clone());
        let started = tokio::task::spawn_blocking(move || {
            serve(&shared.registry, &shared.config, &generation)
        });
        let (mut served, workers) = started.await??;
        let number = self.0.index.begin(wanted).await?;
        served.generation = number;
        self.keep(workers);
        self.change(|models| models.standby = Some(Arc::new(served)));
        Ok((entry, number))
    }

    /// Has the generation beside be searched from now on, and the active one stand beside it.
    ///
    /// # Errors
    /// [`ServingError::Index`], with [`IndexError::Unfinished`] where images lack codes in it.
    pub async fn activate(&self, number: u32) -> Result<(), ServingError> {
        // A caller who leaves between the commit and the change would leave the two apart.
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

    /// Has the model and the generation beside go.
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
        let models = self.0.models.write();
        change(&mut models.unwrap_or_else(PoisonError::into_inner));
    }

    /// Keeps threads to be waited for, and lets go of those that have ended.
    fn keep(&self, threads: Vec<JoinHandle<()>>) {
        let workers = self.0.workers.lock();
        let mut workers = workers.unwrap_or_else(PoisonError::into_inner);
        workers.retain(|worker| !worker.is_finished());
        workers.extend(threads);
    }

    /// Lets all models go and waits for their threads. Blocks while others hold them.
    pub fn close(self) {
        let Some(shared) = Arc::into_inner(self.0) else {
            tracing::error!("the models are still in use");
            return;
        };
        drop(shared.models);
        let workers = shared.workers.into_inner();
        for worker in workers.unwrap_or_else(PoisonError::into_inner) {
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
) -> Result<(Served, Vec<JoinHandle<()>>), ServingError> {
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
    let served = Served {
        generation: generation.number,
        id,
        card,
        precision,
        batcher,
    };
    Ok((served, workers))
}

/// What loads a model, once for each device. A CPU is as many devices of one thread as it has cores, unless it is said how many threads:
/// one that is not given all its cores at once then waits for none of them, where OpenMP's threads wait for each other after every operation.
fn loaders(
    model: &Path,
    compute: &Compute,
) -> Vec<impl FnOnce() -> Result<Hasher, ModelError> + Send + 'static> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let devices = compute.device.split(',').map(str::trim);
    let devices = devices.flat_map(|device| {
        let spread = compute.threads.is_none() && matches!(model::is_cpu(device), Ok(true));
        let one = Compute {
            device: device.to_owned(),
            threads: if spread { Some(1) } else { compute.threads },
            ..compute.clone()
        };
        repeat_n(one, if spread { cores } else { 1 })
    });
    let loader = |compute| {
        let model = model.to_owned();
        move || Hasher::start(&model, &compute)
    };
    devices.map(loader).collect()
}
