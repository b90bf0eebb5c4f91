//! The composition root: opens the store, starts the models, listens, and shuts all of it down in order.
//! Knows what depends on what; no layer's own work.

mod connections;
mod keys;
mod replicas;
mod timed;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::Router;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use tokio::signal::unix;

use crate::{
    config::{Compute, Precision, Serve},
    gallery::{Gallery, Originals},
    http::{self, AppState, Base, Budget, Origins, Parts},
    index::{Index, IndexConfig, Requirement},
    inference::{
        batch::BatchConfig,
        registry::{self, Registry},
        serving::{Serving, ServingConfig},
    },
    jobs::{Jobs, JobsConfig},
    model::{self, Card},
    replica::{self, Replica},
    snapshots::Snapshots,
    system::{disk, memory},
    telemetry,
};
use connections::Places;

/// How long a caller may take to send a request's head. Whoever is slower holds a connection that others need.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of memory that requests may hold if nothing is said.
const MOST_MEMORY: u64 = 768 << 20;
/// How often histograms are folded where nobody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT, then finishes what was accepted, flushes and returns.
///
/// # Errors
/// What kept it from starting, in one sentence: a model or a data folder that cannot be used, an address that is taken.
pub fn run(config: &Serve) -> anyhow::Result<()> {
    start(config, http::router)
}

/// Does the jobs of a gallery that several services share, until SIGTERM or SIGINT.
///
/// # Errors
/// As [`run`].
pub fn work(config: &Serve) -> anyhow::Result<()> {
    ensure!(
        config.nats.nats.is_some(),
        "a worker does the jobs of services that share a gallery; say where that is with --nats"
    );
    ensure!(
        !config.nats.no_jobs,
        "a worker that does no jobs has nothing to do; leave --no-jobs out"
    );
    start(config, http::worker)
}

fn start(config: &Serve, routes: fn(AppState) -> Router) -> anyhow::Result<()> {
    let keys = keys::read(config)?;
    ensure!(
        config.addr.ip().is_loopback() || !keys.is_empty() || config.insecure_no_auth,
        "without keys only loopback is served, not {}; give keys (--keys-file, SCIHCGRL_WRITE_KEYS, …), or --insecure-no-auth to serve it \
         all the same",
        config.addr
    );
    let least = 4 * config.max_body_bytes as u64;
    let held = config
        .memory
        .unwrap_or_else(|| usual_memory(memory::limit(), least));
    ensure!(
        held >= least,
        "--memory is {held} bytes, and four bodies of --max-body-bytes have to fit into it; give at least {least}, or a lower \
         --max-body-bytes"
    );
    disk::keep_private(&config.gallery.data_dir);
    let metrics = telemetry::metrics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(memory::give_back_soon)
        .build()
        .context("cannot start the runtime")?;
    let place = config.gallery.originals();
    let shared = config.nats.nats.as_ref();
    let shared = shared.map(|servers| runtime.block_on(replicas::join(config, servers)));
    let (mut log, shared) = shared.transpose()?.unzip();
    if let Some(shared) = &shared {
        runtime.block_on(replicas::begin(config, shared))?;
    }
    let (index, serving, replica) = open(config, shared.as_ref(), &mut log)?;
    if let Some(replica) = &replica {
        runtime.spawn(replicas::run(
            replica.clone(),
            index.clone(),
            serving.clone(),
        ));
    }
    let originals = Originals::open(&place, index.id(), index.has_originals());
    let (gallery, removal) = Gallery::new(index.clone(), runtime.block_on(originals)?);
    let removal = match &replica {
        Some(_) => removal.after(replicas::REMOVED_AFTER),
        None => removal,
    };
    runtime.spawn(removal.run());
    let board = match &replica {
        Some(replica) => Some((runtime.block_on(replica.board())?, replica.clone())),
        None => None,
    };
    let jobs = JobsConfig {
        folder: config.gallery.data_dir.join("jobs"),
        threads: config.job_threads,
        gpu_memory: config.job_gpu_memory,
    };
    let records = board.as_ref().map(|(board, _)| board.clone());
    let jobs = Jobs::open(gallery.clone(), serving.clone(), jobs, records);
    let jobs = runtime.block_on(jobs)?;
    if let Some((board, replica)) = board {
        runtime.spawn(jobs.clone().follow(board, replica));
    }
    if !config.nats.no_jobs {
        runtime.spawn(jobs.clone().run());
    }
    runtime.spawn(purge(index.clone()));
    let place = config.snapshots.clone().unwrap_or_else(|| {
        let beside = config.gallery.data_dir.join("snapshots");
        beside.display().to_string()
    });
    let snapshots = Snapshots::open(&place, gallery.clone(), serving.registry().clone())?;
    runtime.spawn(look(snapshots.clone()));
    let state = AppState::new(Parts {
        gallery,
        jobs: jobs.clone(),
        snapshots,
        replica,
        trims_log: config.nats.nats_trim,
        serving: serving.clone(),
        max_body_bytes: config.max_body_bytes,
        budget: Budget::new(held),
        body_time: Duration::from_secs(config.body_seconds),
        keys,
        origins: Origins {
            public: config.public_url.clone(),
            allowed: config.cors_origin.clone(),
        },
        base: Base {
            path: config.base_path.clone(),
            trusts_prefix: config.trust_forwarded_prefix,
        },
    });
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics.run_upkeep();
        }
    });
    runtime.block_on(listen(config, routes(state.clone()), state))?;
    runtime.block_on(jobs.leave());
    drop(jobs);
    // Handlers are done; with the last handle on the models their workers end, and then nothing writes any more.
    drop(runtime);
    serving.close();
    index.close()?;
    tracing::info!("stopped");
    Ok(())
}

/// What requests may hold if nothing is said: an eighth of the memory there is, which a container may limit, up to 768 MiB. Four bodies have to
/// fit into it all the same.
fn usual_memory(limit: Option<u64>, least: u64) -> u64 {
    let usual = limit.map_or(MOST_MEMORY, |bytes| (bytes / 8).min(MOST_MEMORY));
    usual.max(least)
}

/// So that the metric of the newest snapshot is right from the start.
async fn look(snapshots: Snapshots) {
    if let Err(error) = snapshots.list().await {
        tracing::warn!(%error, "which snapshots there are is not known");
    }
}

/// Codes of a generation that was let go while the service was killed take room until they are removed.
async fn purge(index: Index) {
    if let Err(error) = index.purge().await {
        tracing::warn!(%error, "codes of a generation that is gone are left until another begins");
    }
}

/// Opens the store and starts the models of its generations; a new store begins with the checkpoint that is given. Before a folder is
/// made there are a model and a device that can be used.
fn open(
    config: &Serve,
    shared: Option<&replica::GalleryManifest>,
    log: &mut Option<replica::LogConnection>,
) -> anyhow::Result<(Index, Serving, Option<Replica>)> {
    let folder = &config.gallery.data_dir;
    let (card, id) = first_model(config)?;
    let preferred = model::preferred(&config.compute.device)?;
    let precision = match (shared, config.compute.precision) {
        (Some(shared), _) => Requirement::Exact(shared.precision.clone()),
        (None, Precision::Auto) => Requirement::Preferred(preferred.to_string()),
        (None, exactly) => Requirement::Exact(exactly.to_string()),
    };
    let device = model::resolved(&config.compute.device)?;
    let index = Index::open(IndexConfig {
        path: folder.clone(),
        model: Requirement::Preferred(id.clone()),
        precision,
        lengths: card.lengths,
        sketch: card.sketch,
        kept: config.sketches,
        gallery: shared.map(replica::GalleryManifest::followed),
        cache_bytes: config.cache_bytes,
    })?;
    let registry = Registry::open(folder.join("models"))?;
    if config.model.exists() {
        registry.take(&config.model, id.clone())?;
    }
    let active = index.generations().active.model;
    ensure!(
        registry.get(&active)?.is_some(),
        "the data folder {} holds codes of model {active}, which is not among its models; start once with --model and that \
         model's file instead of {id}",
        folder.display()
    );
    if active != id {
        tracing::warn!(
            active,
            given = id,
            "the data folder goes on with its active model"
        );
    }
    let serving = ServingConfig {
        compute: Compute {
            device,
            ..config.compute.clone()
        },
        batching: batching(config),
    };
    let replica = log.take().map(|log| replicas::follow(log, &index));
    let replica = replica.transpose()?;
    let serving = Serving::start(index.clone(), registry, serving, replica.clone())?;
    Ok((index, serving, replica))
}

/// The card and the id of the checkpoint that is given. If its file is not there, those of the newest one that the data folder has: a folder that
/// is there goes on with its own model.
fn first_model(config: &Serve) -> anyhow::Result<(Card, String)> {
    let models = config.gallery.data_dir.join("models");
    if !config.model.exists()
        && models.is_dir()
        && let Some(newest) = Registry::open(models)?.list()?.pop()
    {
        return Ok((newest.card, newest.id));
    }
    Ok(registry::describe(&config.model)?)
}

fn batching(config: &Serve) -> BatchConfig {
    BatchConfig {
        max_batch: config.max_batch,
        max_delay: Duration::from_micros(config.max_batch_delay_us),
        queue: config.queue,
        deadline: Duration::from_millis(config.deadline_ms),
    }
}

async fn listen(config: &Serve, router: Router, state: AppState) -> anyhow::Result<()> {
    let most = config.connections.unwrap_or_else(connections::usual);
    let listener = std::net::TcpListener::bind(config.addr)
        .with_context(|| format!("cannot listen on {}", config.addr))?;
    listener.set_nonblocking(true)?;
    let stop = stop_signal().context("cannot listen for signals")?;
    let handle = Handle::new();
    let address = listener.local_addr()?;
    let mut server = axum_server::from_tcp(listener)?
        .handle(handle.clone())
        .first_request_timeout(HEAD_TIMEOUT)
        .acceptor(Places::new(most))
        .accept_error_handler(not_accepted());
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    server.http_builder().http2().timer(TokioTimer::new());
    let draining = state.clone();
    let drain = Duration::from_secs(config.drain_seconds);
    tokio::spawn(async move {
        stop.await;
        tracing::info!(requests = handle.connection_count(), "draining");
        draining.set_ready(false);
        handle.graceful_shutdown(Some(drain));
    });
    state.set_ready(true);
    drop(state);
    // Scripts and tests that ask for port 0 read the address here.
    println!("listening on http://{address}");
    server
        .serve(router.into_make_service())
        .await
        .context("the listener failed")
}

/// Tells why connections are not accepted, at most every few seconds: there may be thousands.
fn not_accepted() -> impl Fn(Option<&SocketAddr>, &io::Error) + Send + Sync {
    let told = Mutex::new(None::<Instant>);
    move |_, error| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= UPKEEP) {
            *told = Some(Instant::now());
            tracing::error!(%error, "connections are not accepted");
        }
    }
}

/// Ends at SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let mut interrupt = unix::signal(unix::SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_container_starts_without_being_told_how_much_memory_it_has() {
        let least = 80 << 20;
        for (limit, held) in [
            (None, MOST_MEMORY),
            (Some(64 << 30), MOST_MEMORY),
            (Some(2 << 30), 256 << 20),
            (Some(512 << 20), least),
        ] {
            assert_eq!(usual_memory(limit, least), held, "{limit:?}");
        }
    }
}
