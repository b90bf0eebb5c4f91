//! `/admin/snapshots`: making a snapshot, what there are, and removing one.
//! Knows requests and answers; neither what a snapshot holds nor how it is restored.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    error::ApiError,
    extract::{Name, Params, given},
    search::NoParams,
    state::AppState,
};
use crate::snapshots::Manifest;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/admin/snapshots", get(list).post(create))
        .route("/admin/snapshots/{id}", get(read).delete(remove))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateParams {
    /// Copies of the originals; without it, where originals are in a folder and not in a bucket.
    #[serde(default, deserialize_with = "given")]
    originals: Option<bool>,
}

#[derive(Serialize)]
struct All {
    snapshots: Vec<Manifest>,
}

async fn create(
    State(state): State<AppState>,
    Params(CreateParams { originals }): Params<CreateParams>,
) -> Result<Response, ApiError> {
    let local = state.parts().gallery.originals().are_local();
    let snapshots = &state.parts().snapshots;
    let manifest = snapshots.create(originals.unwrap_or(local)).await?;
    let location = format!("/admin/snapshots/{}", manifest.id);
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, Json(manifest)).into_response())
}

async fn list(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<All>, ApiError> {
    let snapshots = state.parts().snapshots.list().await?;
    Ok(Json(All { snapshots }))
}

fn no_snapshot(id: &str) -> ApiError {
    ApiError::NoSnapshot(id.chars().take(40).collect())
}

async fn read(State(state): State<AppState>, Name(id): Name) -> Result<Json<Manifest>, ApiError> {
    let uuid = Uuid::try_parse(&id).map_err(|_| no_snapshot(&id))?;
    let found = state.parts().snapshots.get(uuid).await?;
    Ok(Json(found.ok_or_else(|| no_snapshot(&id))?))
}

async fn remove(State(state): State<AppState>, Name(id): Name) -> Result<StatusCode, ApiError> {
    let uuid = Uuid::try_parse(&id).map_err(|_| no_snapshot(&id))?;
    match state.parts().snapshots.remove(uuid).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_snapshot(&id)),
    }
}
