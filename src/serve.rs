//! The composition root: opens the store, starts the model's worker, listens, and shuts all of it down in order.
//! Knows what depends on what; no layer's own work.

use std::future::Future;

use anyhow::{Context, ensure};
use tokio::{net::TcpListener, signal::unix};

use crate::{
    batch::{BatchConfig, Batcher, Started},
    config::Serve,
    http::{self, AppState, Parts},
    index::{Index, IndexConfig},
    model::Hasher,
};

/// Serves until SIGTERM or SIGINT, then finishes what was accepted, flushes and returns.
///
/// # Errors
/// What kept it from starting, in one sentence: a model or a data folder that cannot be used, an address that is taken.
pub fn run(config: &Serve) -> anyhow::Result<()> {
    ensure!(
        config.addr.ip().is_loopback() || config.insecure_no_auth,
        "without keys only loopback is served, not {}; --insecure-no-auth serves it all the same",
        config.addr
    );
    let batching = BatchConfig {
        max_batch: config.max_batch,
        queue: config.queue,
    };
    let (model, compute) = (config.model.clone(), config.compute.clone());
    let Started {
        batcher,
        worker,
        card,
        model_id,
    } = Batcher::start(move || Hasher::start(&model, &compute), batching)?;
    let index = Index::open(IndexConfig {
        path: config.data_dir.clone(),
        model: model_id.clone(),
        lengths: card.lengths.clone(),
        cache_bytes: config.cache_bytes,
    })?;
    let state = AppState::new(Parts {
        index: index.clone(),
        batcher,
        model_id,
        card: serde_json::to_value(&card)?,
        input_size: card.input_size,
        lengths: card.lengths,
        max_body_bytes: config.max_body_bytes,
    });
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(listen(config, state))?;
    // Handlers are done; with the last handle on the batcher the worker ends, and then nothing writes any more.
    drop(runtime);
    if worker.join().is_err() {
        tracing::error!("the model's thread panicked");
    }
    index.close()?;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(config: &Serve, state: AppState) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.addr)
        .await
        .with_context(|| format!("cannot listen on {}", config.addr))?;
    let stop = stop_signal().context("cannot listen for signals")?;
    state.set_ready(true);
    // Scripts and tests that ask for port 0 read the address here.
    println!("listening on http://{}", listener.local_addr()?);
    let draining = state.clone();
    let router = http::router(state);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            stop.await;
            tracing::info!("draining");
            draining.set_ready(false);
        })
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
