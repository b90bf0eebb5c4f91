//! The composition root: opens the store, starts the model's workers, listens, and shuts all of it down in order.
//! Knows what depends on what; no layer's own work.

mod keys;

use std::{future::Future, iter::repeat_n, num::NonZeroUsize, path::Path, thread, time::Duration};

use anyhow::{Context, anyhow, ensure};
use axum_server::{Handle, accept::NoDelayAcceptor};
use clap::ValueEnum;
use hyper_util::rt::TokioTimer;
use tokio::signal::unix;

use crate::{
    batch::{BatchConfig, Batcher, Started},
    config::{Compute, Precision, Serve},
    gallery::{Gallery, Originals},
    http::{self, AppState, Parts},
    index::{self, Index, IndexConfig},
    model::{self, Hasher, ModelError, checkpoint},
    telemetry,
};

/// How long a caller may take to send a request's head. Whoever is slower holds a connection that others need.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often histograms are folded where nobody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT, then finishes what was accepted, flushes and returns.
///
/// # Errors
/// What kept it from starting, in one sentence: a model or a data folder that cannot be used, an address that is taken.
pub fn run(config: &Serve) -> anyhow::Result<()> {
    let keys = keys::read(config)?;
    ensure!(
        config.addr.ip().is_loopback() || !keys.is_empty() || config.insecure_no_auth,
        "without keys only loopback is served, not {}; give keys (--keys-file, SCIHCGRL_WRITE_KEYS, …), or --insecure-no-auth to serve it \
         all the same",
        config.addr
    );
    let metrics = telemetry::metrics();
    // Before a data folder is made for them: a model and a device that can be used. In a thread that ends, for it takes its OpenMP
    // threads with it.
    let path = config.model.clone();
    let described = thread::spawn(move || checkpoint::describe(&path)).join();
    let (card, model_id) = described.map_err(|_| anyhow!("reading the model panicked"))??;
    let preferred = model::preferred(&config.compute.device)?;
    let index = Index::open(IndexConfig {
        path: config.gallery.data_dir.clone(),
        model: model_id,
        precision: match config.compute.precision {
            Precision::Auto => index::Precision::Rather(preferred.to_string()),
            exactly => index::Precision::Exactly(exactly.to_string()),
        },
        lengths: card.lengths,
        cache_bytes: config.cache_bytes,
    })?;
    let precision = Precision::from_str(index.precision(), false)
        .map_err(|_| anyhow!("the codes' type, {}, is not known", index.precision()))?;
    let compute = Compute {
        device: model::resolved(&config.compute.device)?,
        precision,
        ..config.compute.clone()
    };
    let Started {
        batcher,
        workers,
        card,
        model_id,
    } = Batcher::start(loaders(&config.model, &compute), batching(config))?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let place = config.gallery.originals();
    let originals = Originals::open(&place, index.id(), index.has_originals());
    let (gallery, removal) = Gallery::new(index.clone(), runtime.block_on(originals)?);
    runtime.spawn(removal.run());
    let state = AppState::new(Parts {
        gallery,
        batcher,
        model_id,
        card: serde_json::to_value(&card)?,
        input_size: card.input_size,
        lengths: card.lengths,
        max_body_bytes: config.max_body_bytes,
        body_time: Duration::from_secs(config.body_seconds),
        compute,
        keys,
        cors_origins: config.cors_origin.clone(),
    });
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            metrics.run_upkeep();
        }
    });
    runtime.block_on(listen(config, state))?;
    // Handlers are done; with the last handle on the batcher the workers end, and then nothing writes any more.
    drop(runtime);
    for worker in workers {
        if worker.join().is_err() {
            tracing::error!("a model's thread panicked");
        }
    }
    index.close()?;
    tracing::info!("stopped");
    Ok(())
}

fn batching(config: &Serve) -> BatchConfig {
    BatchConfig {
        max_batch: config.max_batch,
        max_delay: Duration::from_micros(config.max_batch_delay_us),
        queue: config.queue,
        deadline: Duration::from_millis(config.deadline_ms),
    }
}

/// What loads the model, once for each device. A CPU is as many devices of one thread as it has cores, unless it is said how many threads:
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

async fn listen(config: &Serve, state: AppState) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind(config.addr)
        .with_context(|| format!("cannot listen on {}", config.addr))?;
    listener.set_nonblocking(true)?;
    let stop = stop_signal().context("cannot listen for signals")?;
    let handle = Handle::new();
    let address = listener.local_addr()?;
    let mut server = axum_server::from_tcp(listener)?
        .handle(handle.clone())
        .first_request_timeout(HEAD_TIMEOUT)
        .acceptor(NoDelayAcceptor::new());
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
    // Scripts and tests that ask for port 0 read the address here.
    println!("listening on http://{address}");
    let router = http::router(state);
    server
        .serve(router.into_make_service())
        .await
        .context("the listener failed")
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
