//! The state of the service and the description of its API: `/livez`, `/readyz`, `/info`,
//! `/openapi.yaml` and `/docs`.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Serialize;
use utoipa_swagger_ui::Config;

use crate::{
    code::Length,
    http::{error::ApiError, extract::Name, routes::static_files::StaticFile, state::AppState},
    index::IndexStats,
    jobs::UnfinishedJobs,
    model::{Card, Thresholds},
    replica::Replica,
};

const OPENAPI: &str = include_str!("../../../openapi.yaml");

/// The content security policy of Swagger UI, which sets styles on its elements and has pictures in
/// `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/info", get(info))
        .route("/openapi.yaml", get(openapi))
}

/// Swagger UI for the API; all its files are built into the program.
pub(crate) fn docs_pages() -> Router<AppState> {
    Router::new()
        .route("/docs", get(async || Redirect::to("docs/")))
        .route(
            "/docs/",
            get(async |headers: HeaderMap| page("index.html", &headers)),
        )
        .route(
            "/docs/{file}",
            get(async |Name(name): Name, headers: HeaderMap| page(&name, &headers)),
        )
}

fn page(name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let load = || {
        let config = Config::new(["../openapi.yaml"]).try_it_out_enabled(true);
        let file = utoipa_swagger_ui::serve(name, config.into()).ok()??;
        Some((file.bytes.into_owned().into(), file.content_type))
    };
    let path = format!("/docs/{name}");
    let file = StaticFile::at(&path, load).ok_or(ApiError::NoRoute(path))?;
    let policy = [(header::CONTENT_SECURITY_POLICY, POLICY)];
    Ok((policy, file.answer(headers)).into_response())
}

/// Probes for the orchestrator, which answer in every state of the service.
pub(crate) fn probes() -> Router<AppState> {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
}

#[derive(Serialize)]
struct Info {
    version: &'static str,
    model_id: String,
    model: Card,
    lengths: Vec<Length>,
    thresholds: Option<Thresholds>,
    input_size: u32,
    max_body_bytes: usize,
    index: IndexStats,
    standby: Option<Standby>,
    jobs: UnfinishedJobs,
}

/// The standby model.
#[derive(Serialize)]
struct Standby {
    model: String,
    generation: u32,
    missing: u64,
}

async fn info(State(state): State<AppState>) -> Result<Json<Info>, ApiError> {
    let index = state.read(|index| Ok(index.stats())).await?;
    let generations = state.parts().gallery.index().generations();
    let standby = generations.standby.map(|standby| Standby {
        model: standby.model,
        generation: standby.number,
        missing: generations.missing,
    });
    let active = state.models().active;
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        model_id: active.id.clone(),
        model: active.card.clone(),
        lengths: active.card.lengths.clone(),
        thresholds: active.card.thresholds,
        input_size: active.card.input_size,
        max_body_bytes: state.max_body_bytes(),
        standby,
        jobs: state.parts().jobs.count_unfinished().await?,
        index,
    }))
}

async fn openapi(headers: HeaderMap) -> Result<Response, ApiError> {
    let load = || Some((OPENAPI.as_bytes().into(), "application/yaml".to_owned()));
    let file = StaticFile::at("/openapi.yaml", load);
    let file = file.ok_or_else(|| ApiError::internal("openapi.yaml is missing"))?;
    Ok(file.answer(&headers))
}

/// The service is not live if the model's thread has ended, if a replica cannot continue, or if the
/// store lost commits. Only a restart helps then.
async fn live(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    let replica = state.parts().replica.as_ref();
    if !state.models().active.batcher.is_alive() {
        Err(ApiError::ModelStopped)
    } else if !replica.is_none_or(Replica::is_alive) {
        Err(ApiError::ReplicaStopped)
    } else if state.parts().gallery.index().is_lost() {
        Err(ApiError::CommitsLost)
    } else {
        Ok("live\n")
    }
}

/// A degraded service is ready: it refuses writes, but answers searches.
async fn ready(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    let replica = state.parts().replica.as_ref();
    if !state.is_ready() || !replica.is_none_or(Replica::is_ready) {
        return Err(ApiError::NotReady);
    }
    let gallery = &state.parts().gallery;
    Ok(if !gallery.index().has_disk_space() {
        "degraded: the disk is full, so writes are refused\n"
    } else if !gallery.can_write_originals() {
        "degraded: originals cannot be written, so images are refused\n"
    } else if replica.is_some_and(Replica::has_skipped_message) {
        "degraded: a message of the log was broken and was skipped\n"
    } else {
        "ready\n"
    })
}
