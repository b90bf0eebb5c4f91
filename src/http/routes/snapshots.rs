//! `/admin/snapshots`: makes, lists and deletes snapshots. `/admin/digest`: the digest of the
//! store.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    http::{
        error::ApiError,
        extract::{Name, NoParams, Params, parameters::present_value},
        state::AppState,
    },
    replica::Replica,
    snapshots::{Manifest, Snapshots},
};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/admin/digest", get(digest))
        .route("/admin/snapshots", get(list).post(create))
        .route("/admin/snapshots/{id}", get(read).delete(remove))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateParams {
    /// Copy the originals too. By default, if they are in a folder, not in a bucket.
    #[serde(default, deserialize_with = "present_value")]
    originals: Option<bool>,
}

#[derive(Serialize)]
struct SnapshotList {
    snapshots: Vec<Manifest>,
}

async fn create(
    State(state): State<AppState>,
    Params(CreateParams { originals }): Params<CreateParams>,
) -> Result<Response, ApiError> {
    // The originals of replicas are in a place that all replicas share.
    let local = state.parts().gallery.originals().is_local() && state.parts().replica.is_none();
    let snapshots = &state.parts().snapshots;
    let manifest = snapshots.create(originals.unwrap_or(local)).await?;
    if let Some(replica) = &state.parts().replica
        && state.parts().trims_log
    {
        trim(replica, snapshots).await;
    }
    let location = format!("/admin/snapshots/{}", manifest.id);
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, Json(manifest)).into_response())
}

/// Deletes the part of the log that the second newest snapshot contains. The rest is enough for a
/// replica that starts from the newest snapshot or is a little behind.
async fn trim(replica: &Replica, snapshots: &Snapshots) {
    let trimmed = async {
        let all = snapshots.list().await.map_err(ApiError::from)?;
        match all.get(1).and_then(|before| before.position) {
            Some(position) => replica.trim(position).await.map_err(ApiError::internal),
            None => Ok(()),
        }
    };
    if let Err(error) = trimmed.await {
        tracing::warn!(%error, "the log was not trimmed");
    }
}

async fn list(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<SnapshotList>, ApiError> {
    let snapshots = state.parts().snapshots.list().await?;
    Ok(Json(SnapshotList { snapshots }))
}

/// Replicas at one position have the same digest.
#[derive(Serialize)]
struct Digest {
    position: Option<u64>,
    sha256: String,
}

async fn digest(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Digest>, ApiError> {
    let (position, sha256) = state.parts().gallery.index().digest().await?;
    Ok(Json(Digest { position, sha256 }))
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
    if state.parts().snapshots.remove(uuid).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_snapshot(&id))
    }
}
