//! `/admin/models`: which checkpoints there are, more of them, fewer, and which of them answers.
//! Knows their states and who may go; neither how models are kept nor how one takes another's place.

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
        extract::{Name, Params},
        routes::search::NoParams,
        state::AppState,
    },
    inference::registry::Entry,
    jobs::{Job, Task},
    model::Card,
    system::disk,
};

/// The most bytes of a checkpoint: VGG-19's has 280 MB.
const MAX_MODEL_BYTES: u64 = 1 << 30;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/admin/models", get(list).post(upload))
        .route("/admin/models/{id}", get(read).delete(remove))
        .route("/admin/models/{id}/content", get(content))
        .route("/admin/models/{id}/activate", post(activate))
        .route("/admin/models/{id}/codes", delete(let_go))
        // An upload is read as it comes, to its own limit.
        .layer(DefaultBodyLimit::disable())
}

/// What a model is to the service.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Use {
    /// Its codes are searched.
    Active,
    /// All its codes are kept, so that it can be activated at once.
    Standby,
    /// Its codes are being made, or were not all made.
    Encoding,
    /// It is kept.
    Stored,
}

/// A checkpoint as answers show it.
#[derive(Serialize)]
struct Model {
    id: String,
    state: Use,
    /// The model that it was trained from.
    parent: Option<Value>,
    bytes: u64,
    created_at_ms: u64,
    card: Card,
}

#[derive(Serialize)]
struct All {
    models: Vec<Model>,
}

/// What became of an activation: a job, where codes have to be made first.
#[derive(Serialize)]
struct Activated {
    model: String,
    state: Use,
    job: Option<Job>,
}

fn state_of(state: &AppState, id: &str) -> Use {
    let generations = state.parts().gallery.index().generations();
    let standby = generations
        .standby
        .is_some_and(|standby| standby.model == id);
    match (state.models().active.id == id, standby, generations.missing) {
        (true, ..) => Use::Active,
        (_, true, 0) => Use::Standby,
        (_, true, _) => Use::Encoding,
        _ => Use::Stored,
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
) -> Result<Json<All>, ApiError> {
    let entries = state.parts().serving.all().await?;
    let models = entries.into_iter().map(|entry| model(&state, entry));
    Ok(Json(All {
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
    let body = request.into_body().into_data_stream().map_err(broke_off);
    let patience = state.parts().body_time;
    let upload = receive(body, registry.temp_path(), MAX_MODEL_BYTES, patience).await?;
    // It is copied to its name.
    if let Some(folder) = upload.path.parent() {
        disk::room(folder, upload.bytes)?;
    }
    let taken = state.parts().serving.add(&upload.path).await?;
    let location = format!("/admin/models/{}", taken.id);
    let model = Json(model(&state, taken));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], model).into_response())
}

fn broke_off(error: axum::Error) -> ApiError {
    ApiError::Malformed(format!("the body broke off: {error}"))
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
        Use::Active => "is active; activate another first",
        Use::Standby | Use::Encoding => {
            "has codes, to activate it by; let them go first: DELETE /admin/models/{id}/codes"
        }
        Use::Stored => {
            state.parts().serving.remove(&entry.id).await?;
            return Ok(StatusCode::NO_CONTENT);
        }
    };
    Err(ApiError::ModelInUse { id, why })
}

/// At once where all codes are kept; by a job where they have to be made.
async fn activate(State(state): State<AppState>, Name(id): Name) -> Result<Response, ApiError> {
    let entry = entry(&state, &id).await?;
    let id = entry.id;
    let serving = &state.parts().serving;
    let standby = state.models().standby.filter(|standby| standby.id == id);
    if let (Use::Standby, Some(standby)) = (state_of(&state, &id), standby)
        // What was written at this moment may lack codes, which a job then makes.
        && serving.activate(standby.generation).await.is_ok()
    {
        tracing::info!(model = id, "activated");
    }
    let now = state_of(&state, &id);
    if now == Use::Active {
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

/// Lets the codes of the model beside the active one go.
async fn let_go(State(state): State<AppState>, Name(id): Name) -> Result<StatusCode, ApiError> {
    let id = entry(&state, &id).await?.id;
    let why = match state_of(&state, &id) {
        Use::Active => "is active; activate another first",
        Use::Encoding if state.parts().jobs.encodes(&id).await? => {
            "is being encoded with; cancel the job"
        }
        Use::Standby | Use::Encoding => {
            state.parts().serving.discard().await?;
            return Ok(StatusCode::NO_CONTENT);
        }
        Use::Stored => return Ok(StatusCode::NO_CONTENT),
    };
    Err(ApiError::ModelInUse { id, why })
}
