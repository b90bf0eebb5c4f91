//! Starts a service or a worker from its options: opens the store, starts the models, listens, and
//! shuts everything down in order.
//!
//! - `connections`: limits the number of connections
//! - `expiring`: connections that end by themselves
//! - `keys`: reads API keys
//! - `replicas`: joins a shared gallery

mod connections;
mod expiring;
mod keys;
mod replicas;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use axum::Router;
use axum_server::Handle;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::signal::unix;

use crate::{
    config::{Compute, Precision, Serve},
    gallery::{Gallery, Originals},
    http::{self, AppState, BasePath, Budget, Origins, Parts},
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
use connections::ConnectionSlots;

/// How long a client may take to send a request's head. A slower client holds a connection that
/// others need.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum default memory budget of requests.
const MAX_DEFAULT_MEMORY: u64 = 768 << 20;
/// How often histograms are aggregated, so that they do not grow while no one reads the metrics.
const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Minimum time between two log lines about connections that cannot be accepted.
const ACCEPT_ERROR_INTERVAL: Duration = Duration::from_secs(5);
/// How long the check for fields to build waits for the replica or the shared jobs.
const FIELDS_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT. Then finishes accepted requests, flushes the store and returns.
///
/// # Errors
/// Returns the reason if the service cannot start, such as an unusable model or data folder, or an
/// address in use.
pub fn run(config: &Serve) -> anyhow::Result<()> {
    start(config, http::router)
}

/// Runs the jobs of a shared gallery until SIGTERM or SIGINT.
///
/// # Errors
/// As [`run`].
pub fn run_worker(config: &Serve) -> anyhow::Result<()> {
    ensure!(
        config.nats.nats.is_some(),
        "a worker runs the jobs of replicas; give the servers of their log with --nats"
    );
    ensure!(
        !config.nats.no_jobs,
        "a worker with --no-jobs has nothing to do; omit --no-jobs"
    );
    start(config, http::worker_router)
}

fn start(config: &Serve, routes: fn(AppState) -> Router) -> anyhow::Result<()> {
    let keys = keys::read(config)?;
    ensure!(
        config.addr.ip().is_loopback() || !keys.is_empty() || config.insecure_no_auth,
        "without keys the service listens only on loopback, not on {}; give keys (--keys-file, SCIHCGRL_WRITE_KEYS, …), \
         or --insecure-no-auth to listen there without keys",
        config.addr
    );
    let least = 4 * config.max_body_bytes as u64;
    let request_memory = config
        .memory
        .unwrap_or_else(|| default_memory(memory::limit(), least));
    ensure!(
        request_memory >= least,
        "--memory is {request_memory} bytes; it must be at least {least}, four bodies of --max-body-bytes"
    );
    disk::restrict_permissions(&config.gallery.data_dir);
    let metrics = telemetry::metrics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(memory::release_quickly)
        .build()
        .context("cannot start the runtime")?;
    let location = config.gallery.originals();
    let shared = config.nats.nats.as_ref();
    let shared = shared.map(|servers| runtime.block_on(replicas::connect(config, servers)));
    let (mut log, shared) = shared.transpose()?.unzip();
    if let Some(shared) = &shared {
        runtime.block_on(replicas::restore_newest(config, shared))?;
    }
    let (index, serving, replica) = open(config, shared.as_ref(), &mut log)?;
    if let Some(replica) = &replica {
        runtime.spawn(replicas::run(
            replica.clone(),
            index.clone(),
            serving.clone(),
        ));
    }
    let originals = Originals::open(&location, index.id(), index.has_originals());
    let (gallery, cleanup) = Gallery::new(index.clone(), runtime.block_on(originals)?);
    let cleanup = match &replica {
        Some(_) => cleanup.with_delay(replicas::ORIGINAL_REMOVAL_DELAY),
        None => cleanup,
    };
    runtime.spawn(cleanup.run());
    let shared_records = match &replica {
        Some(replica) => Some((runtime.block_on(replica.shared_records())?, replica.clone())),
        None => None,
    };
    let jobs = JobsConfig {
        folder: config.gallery.data_dir.join("jobs"),
        threads: config.job_threads,
        gpu_memory: config.job_gpu_memory,
    };
    let records = shared_records.as_ref().map(|(records, _)| records.clone());
    let jobs = Jobs::open(gallery.clone(), serving.clone(), jobs, records);
    let jobs = runtime.block_on(jobs)?;
    if let Some((records, replica)) = shared_records {
        runtime.spawn(jobs.clone().follow(records, replica));
    }
    if !config.nats.no_jobs {
        runtime.spawn(jobs.clone().run());
        runtime.spawn(build_fields(jobs.clone(), replica.clone()));
    }
    runtime.spawn(purge(index.clone()));
    let location = config.snapshots.clone().unwrap_or_else(|| {
        let folder = config.gallery.data_dir.join("snapshots");
        folder.display().to_string()
    });
    let snapshots = Snapshots::open(&location, gallery.clone(), serving.registry().clone())?;
    runtime.spawn(update_snapshot_metric(snapshots.clone()));
    let state = AppState::new(Parts {
        gallery,
        jobs: jobs.clone(),
        snapshots,
        replica,
        trims_log: config.nats.nats_trim,
        serving: serving.clone(),
        max_body_bytes: config.max_body_bytes,
        budget: Budget::new(request_memory),
        body_timeout: Duration::from_secs(config.body_seconds),
        keys,
        origins: Origins {
            public: config.public_url.clone(),
            allowed: config.cors_origin.clone(),
        },
        base: BasePath {
            path: config.base_path.clone(),
            trusts_prefix: config.trust_forwarded_prefix,
        },
    });
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(METRICS_UPKEEP_INTERVAL).await;
            metrics.run_upkeep();
        }
    });
    runtime.block_on(listen(config, routes(state.clone()), state))?;
    runtime.block_on(jobs.release_claim());
    drop(jobs);
    // All handlers are done. The model workers end when the last handle on the models is dropped.
    // After that, nothing writes.
    drop(runtime);
    serving.close();
    index.close()?;
    tracing::info!("stopped");
    Ok(())
}

/// Returns the default memory budget of requests: an eighth of the machine's or the container's
/// memory, at most 768 MiB, and at least `least`, which has room for four bodies.
fn default_memory(limit: Option<u64>, least: u64) -> u64 {
    let eighth = limit.map_or(MAX_DEFAULT_MEMORY, |bytes| {
        (bytes / 8).min(MAX_DEFAULT_MEMORY)
    });
    eighth.max(least)
}

/// Lists the snapshots at the start, which sets the metric of the newest snapshot.
async fn update_snapshot_metric(snapshots: Snapshots) {
    if let Err(error) = snapshots.list().await {
        tracing::warn!(%error, "the snapshots cannot be listed");
    }
}

/// Creates the missing jobs that build fields, once a replica sees nearly all writes.
async fn build_fields(jobs: Jobs, replica: Option<Replica>) {
    loop {
        if replica.as_ref().is_none_or(Replica::is_ready) {
            match jobs.build_fields().await {
                Err(error) if error.is_temporary() => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot create the jobs that build fields; declare the fields again");
                    return;
                }
                Ok(()) => return,
            }
        }
        tokio::time::sleep(FIELDS_RETRY_DELAY).await;
    }
}

/// Deletes the codes of a generation whose deletion was interrupted.
async fn purge(index: Index) {
    if let Err(error) = index.purge().await {
        tracing::warn!(%error, "cannot delete the codes of a removed generation; they remain until the next generation begins");
    }
}

/// Opens the store and starts the models of its generations. A new store starts with the given
/// checkpoint. Checks the model and the device before it creates a folder.
fn open(
    config: &Serve,
    shared: Option<&replica::GalleryManifest>,
    log: &mut Option<replica::LogConnection>,
) -> anyhow::Result<(Index, Serving, Option<Replica>)> {
    let folder = &config.gallery.data_dir;
    let (card, id) = first_model(config)?;
    let preferred = model::preferred_precision(&config.compute.device)?;
    let precision = match (shared, config.compute.precision) {
        (Some(shared), _) => Requirement::Exact(shared.precision.clone()),
        (None, Precision::Auto) => Requirement::Preferred(preferred.to_string()),
        (None, exactly) => Requirement::Exact(exactly.to_string()),
    };
    let device = model::resolve_devices(&config.compute.device)?;
    let index = Index::open(IndexConfig {
        path: folder.clone(),
        model: Requirement::Preferred(id.clone()),
        precision,
        lengths: card.lengths,
        sketch: card.sketch,
        sketch_storage: config.sketches,
        gallery: shared.map(replica::GalleryManifest::log_origin),
        cache_bytes: config.cache_bytes,
    })?;
    let registry = Registry::open(folder.join("models"))?;
    if config.model.exists() {
        registry.add_with_id(&config.model, id.clone())?;
    }
    let active = index.generations().active.model;
    ensure!(
        registry.get(&active)?.is_some(),
        "the data folder {} has codes of model {active}, but not that model's file; start once with --model and that \
         file instead of model {id}",
        folder.display()
    );
    if active != id {
        tracing::warn!(active, given = id, "the data folder keeps its active model");
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

/// Returns the card and the id of the given checkpoint, or, if its file does not exist, of the
/// newest model in the data folder: an existing folder needs no other model.
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
    let limit = config
        .connections
        .unwrap_or_else(connections::default_limit);
    let listener = std::net::TcpListener::bind(config.addr)
        .with_context(|| format!("cannot listen on {}", config.addr))?;
    listener.set_nonblocking(true)?;
    let stop = stop_signal().context("cannot listen for signals")?;
    let handle = Handle::new();
    let address = listener.local_addr()?;
    let mut server = axum_server::from_tcp(listener)?
        .handle(handle.clone())
        .first_request_timeout(HEAD_TIMEOUT)
        .acceptor(ConnectionSlots::new(limit))
        .accept_error_handler(log_accept_errors());
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
        tracing::info!(
            requests = handle.connection_count(),
            "stopping; waiting for accepted requests"
        );
        draining.set_ready(false);
        handle.graceful_shutdown(Some(drain));
    });
    state.set_ready(true);
    drop(state);
    // Scripts and tests that use port 0 read the address here.
    println!("listening on http://{address}");
    server
        .serve(router.into_make_service())
        .await
        .context("the listener failed")
}

/// Logs why connections cannot be accepted, at most every few seconds, because there may be
/// thousands.
fn log_accept_errors() -> impl Fn(Option<&SocketAddr>, &io::Error) + Send + Sync {
    let logged_at = Mutex::new(None::<Instant>);
    move |_, error| {
        let mut logged_at = logged_at.lock();
        if logged_at.is_none_or(|logged_at| logged_at.elapsed() >= ACCEPT_ERROR_INTERVAL) {
            *logged_at = Some(Instant::now());
            tracing::error!(%error, "connections cannot be accepted");
        }
    }
}

/// Returns a future that ends at SIGTERM or SIGINT.
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
    fn the_default_memory_fits_a_small_container() {
        let least = 80 << 20;
        for (limit, expected) in [
            (None, MAX_DEFAULT_MEMORY),
            (Some(64 << 30), MAX_DEFAULT_MEMORY),
            (Some(2 << 30), 256 << 20),
            (Some(512 << 20), least),
        ] {
            assert_eq!(default_memory(limit, least), expected, "{limit:?}");
        }
    }
}
