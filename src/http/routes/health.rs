//! Probes, facts and the contract: `/livez`, `/readyz`, `/info`, `/openapi.yaml` and `/docs`.
//! Knows nothing of images; it tells how the service is, not what it holds.

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
    http::{error::ApiError, extract::Name, routes::asset::Asset, state::AppState},
    index::Facts,
    jobs::Waiting,
    model::{Card, Thresholds},
    replica::Replica,
};

const CONTRACT: &str = include_str!("../../../openapi.yaml");

/// What the page of the contract may do: Swagger UI sets styles on its elements, and has a few pictures in its own text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/info", get(info))
        .route("/openapi.yaml", get(contract))
}

/// The contract as a page that tries it out; all of it comes from this program.
pub(crate) fn pages() -> Router<AppState> {
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
    let asset = Asset::at(&path, load).ok_or(ApiError::NoRoute(path))?;
    let policy = [(header::CONTENT_SECURITY_POLICY, POLICY)];
    Ok((policy, asset.answer(headers)).into_response())
}

/// Answered in every state of the service, for the orchestrator.
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
    index: Facts,
    standby: Option<Standby>,
    jobs: Waiting,
}

/// The model whose codes are kept beside those that are searched.
#[derive(Serialize)]
struct Standby {
    model: String,
    generation: u32,
    missing: u64,
}

async fn info(State(state): State<AppState>) -> Result<Json<Info>, ApiError> {
    let index = state.read(|index| Ok(index.facts())).await?;
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
        jobs: state.parts().jobs.waiting().await?,
        index,
    }))
}

async fn contract(headers: HeaderMap) -> Result<Response, ApiError> {
    let load = || Some((CONTRACT.as_bytes().into(), "application/yaml".to_owned()));
    let asset = Asset::at("/openapi.yaml", load);
    let asset = asset.ok_or_else(|| ApiError::internal("the contract is not there"))?;
    Ok(asset.answer(&headers))
}

/// Not live means that the model's thread is gone, that a replica cannot go on, or that the store lost commits: only a restart mends these.
async fn live(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    let replica = state.parts().replica.as_ref();
    match state.models().active.batcher.is_alive() {
        false => Err(ApiError::Dead),
        true if !replica.is_none_or(Replica::is_alive) => Err(ApiError::Stopped),
        true if state.parts().gallery.index().is_lost() => Err(ApiError::Lost),
        true => Ok("live\n"),
    }
}

/// Searches are answered where writes are not, so a service that is degraded is ready.
async fn ready(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    let replica = state.parts().replica.as_ref();
    if !state.is_ready() || !replica.is_none_or(Replica::is_ready) {
        return Err(ApiError::NotReady);
    }
    let gallery = &state.parts().gallery;
    Ok(if !gallery.index().has_room() {
        "degraded: the disk is full, so writes are refused\n"
    } else if gallery.originals_are_away() {
        "degraded: originals cannot be written, so images are refused\n"
    } else if replica.is_some_and(Replica::has_passed_over) {
        "degraded: a message of the log was broken and is passed over\n"
    } else {
        "ready\n"
    })
}
