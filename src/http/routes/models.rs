//! `/admin/models`: lists, adds, activates and removes models.

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures_util::TryStreamExt;
use serde::Serialize;
use serde_json::Value;
use tokio::fs::File;

use crate::{
    http::{
        body::upload::receive,
        error::ApiError,
        extract::{Name, NoParams, Params},
        state::AppState,
    },
    inference::registry::Entry,
    jobs::{Job, Task},
    model::Card,
    system::disk,
};

/// Maximum number of bytes of a model file. The largest of today, VGG-19's, has 280 MB.
const MAX_MODEL_BYTES: u64 = 1 << 30;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/admin/models", get(list).post(upload))
        .route("/admin/models/{id}", get(read).delete(remove))
        .route("/admin/models/{id}/content", get(content))
        .route("/admin/models/{id}/activate", post(activate))
        .route("/admin/models/{id}/codes", delete(delete_codes))
        // An upload is written to a file as it arrives, and has its own limit.
        .layer(DefaultBodyLimit::disable())
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum ModelState {
    /// Its codes are searched.
    Active,
    /// All its codes exist, so it can be activated at once.
    Standby,
    /// Its codes are being made, or some are missing.
    Encoding,
    /// It has no codes.
    Stored,
}

#[derive(Serialize)]
struct Model {
    id: String,
    state: ModelState,
    /// The model that it was trained from, if any.
    parent: Option<Value>,
    bytes: u64,
    created_at_ms: u64,
    card: Card,
}

#[derive(Serialize)]
struct ModelList {
    models: Vec<Model>,
}

/// The result of an activation: a job, if codes must be made first.
#[derive(Serialize)]
struct Activated {
    model: String,
    state: ModelState,
    job: Option<Job>,
}

fn state_of(state: &AppState, id: &str) -> ModelState {
    let generations = state.parts().gallery.index().generations();
    let standby = generations
        .standby
        .is_some_and(|standby| standby.model == id);
    match (state.models().active.id == id, standby, generations.missing) {
        (true, ..) => ModelState::Active,
        (_, true, 0) => ModelState::Standby,
        (_, true, _) => ModelState::Encoding,
        _ => ModelState::Stored,
    }
}

fn model(state: &AppState, entry: Entry) -> Model {
    Model {
        state: state_of(state, &entry.id),
        parent: entry.card.training.get("parent").cloned(),
        id: entry.id,
        bytes: entry.bytes,
        created_at_ms: entry.created_at_ms,
        card: entry.card,
    }
}

async fn entry(state: &AppState, id: &str) -> Result<Entry, ApiError> {
    let found = state.parts().serving.find(id).await?;
    found.ok_or_else(|| ApiError::NoModel(id.chars().take(40).collect()))
}

async fn list(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<ModelList>, ApiError> {
    let entries = state.parts().serving.list().await?;
    let models = entries.into_iter().map(|entry| model(&state, entry));
    Ok(Json(ModelList {
        models: models.collect(),
    }))
}

async fn read(State(state): State<AppState>, Name(id): Name) -> Result<Json<Model>, ApiError> {
    let entry = entry(&state, &id).await?;
    Ok(Json(model(&state, entry)))
}

async fn upload(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
    request: Request,
) -> Result<Response, ApiError> {
    let registry = state.parts().serving.registry().clone();
    let body = request.into_body().into_data_stream().map_err(interrupted);
    let chunk_timeout = state.parts().body_timeout;
    let upload = receive(body, registry.temp_path(), MAX_MODEL_BYTES, chunk_timeout).await?;
    // The registry copies it, so the disk needs room for a second file.
    if let Some(folder) = upload.path.parent() {
        disk::check_free_space(folder, upload.bytes)?;
    }
    let taken = state.parts().serving.add(&upload.path).await?;
    let location = format!("/admin/models/{}", taken.id);
    let model = Json(model(&state, taken));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], model).into_response())
}

fn interrupted(error: axum::Error) -> ApiError {
    ApiError::Malformed(format!("the body was interrupted: {error}"))
}

async fn content(State(state): State<AppState>, Name(id): Name) -> Result<Response, ApiError> {
    let entry = entry(&state, &id).await?;
    let file = File::open(&entry.path).await.map_err(ApiError::internal)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, entry.bytes.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}.safetensors\"", entry.id),
        ),
    ];
    let body = Body::from_stream(tokio_util::io::ReaderStream::new(file));
    Ok((headers, body).into_response())
}

async fn remove(State(state): State<AppState>, Name(id): Name) -> Result<StatusCode, ApiError> {
    let entry = entry(&state, &id).await?;
    let why = match state_of(&state, &entry.id) {
        ModelState::Active => "is active; activate another first",
        ModelState::Standby | ModelState::Encoding => {
            "has codes; delete them first: DELETE /admin/models/{id}/codes"
        }
        ModelState::Stored => {
            state.parts().serving.remove(&entry.id).await?;
            return Ok(StatusCode::NO_CONTENT);
        }
    };
    Err(ApiError::ModelInUse { id, why })
}

/// Activates a model at once if all its codes exist, or else creates a job that makes them.
async fn activate(State(state): State<AppState>, Name(id): Name) -> Result<Response, ApiError> {
    let entry = entry(&state, &id).await?;
    let id = entry.id;
    let serving = &state.parts().serving;
    let standby = state.models().standby.filter(|standby| standby.id == id);
    if let (ModelState::Standby, Some(standby)) = (state_of(&state, &id), standby)
        // Fails if an image without codes was written just now; a job then makes them.
        && serving.activate(standby.generation).await.is_ok()
    {
        tracing::info!(model = id, "activated");
    }
    let now = state_of(&state, &id);
    if now == ModelState::Active {
        let answer = Activated {
            model: id,
            state: now,
            job: None,
        };
        return Ok(Json(answer).into_response());
    }
    let task = Task::Reencode { model: id.clone() };
    let job = state.parts().jobs.create_once(task).await?;
    let location = format!("/admin/jobs/{}", job.id);
    let answer = Activated {
        model: id,
        state: now,
        job: Some(job),
    };
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, location)],
        Json(answer),
    )
        .into_response())
}

/// Deletes the standby generation if it is of this model.
async fn delete_codes(
    State(state): State<AppState>,
    Name(id): Name,
) -> Result<StatusCode, ApiError> {
    let id = entry(&state, &id).await?.id;
    let why = match state_of(&state, &id) {
        ModelState::Active => "is active; activate another first",
        ModelState::Encoding if state.parts().jobs.is_reencoding_with(&id).await? => {
            "is in use by a job that makes its codes; cancel that job"
        }
        ModelState::Standby | ModelState::Encoding => {
            state.parts().serving.discard().await?;
            return Ok(StatusCode::NO_CONTENT);
        }
        ModelState::Stored => return Ok(StatusCode::NO_CONTENT),
    };
    Err(ApiError::ModelInUse { id, why })
}
