//! `/admin/jobs`: creates, lists, follows, cancels and removes jobs.
//!
//! - `request`: the body that creates a job
//! - `members`: the names of its options

mod members;
mod request;

use std::{convert::Infallible, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
    routing::{get, post},
};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    http::{
        error::ApiError,
        extract::{
            Name, NoParams, Params,
            idempotency_key::IdempotencyKey,
            parameters::{PageSize, present_value},
        },
        keys::Caller,
        state::AppState,
    },
    jobs::{Event, Job, JobError, Submission, Task},
};

use request::NewJob;

/// How often a stream checks that the service is not draining.
const READY_CHECK_INTERVAL: Duration = Duration::from_secs(1);
const LAST_EVENT_ID: &str = "last-event-id";

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/admin/jobs", get(list).post(create))
        .route("/admin/jobs/{id}", get(read).delete(remove))
        .route("/admin/jobs/{id}/cancel", post(cancel))
        .route("/admin/jobs/{id}/events", get(events))
}

async fn create(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
    IdempotencyKey(key): IdempotencyKey,
    request: NewJob,
) -> Result<Response, ApiError> {
    let NewJob {
        mut task,
        priority,
        archive,
    } = request;
    let active = state.models().active.id.clone();
    let model = match &mut task {
        Task::FineTune(options) => Some(options.model.get_or_insert(active)),
        Task::Adapt(options) => Some(options.model.get_or_insert(active)),
        Task::Reencode { model } => Some(model),
        Task::FindDuplicates { model } => {
            *model = active;
            Some(model)
        }
        Task::BuildField { .. } | Task::DeleteImages(_) | Task::ChangeImages(_) => None,
    };
    if let Some(model) = model {
        let entry = state.parts().serving.find(model).await?;
        let entry = entry.ok_or_else(|| ApiError::NoModel(model.chars().take(40).collect()))?;
        if let Task::FindDuplicates { model } = &task
            && entry.card.copy().is_none()
        {
            let model = model.clone();
            return Err(JobError::NoThresholds { model }.into());
        }
    }
    let created = state.parts().jobs.create(Submission {
        task,
        priority,
        owner: None,
        key: key.as_deref(),
        archive: archive.as_ref().map(|archive| archive.path.as_path()),
    });
    let (job, new) = created.await?;
    let location = format!("/admin/jobs/{}", job.id);
    let status = if new {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, [(header::LOCATION, location)], Json(job)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    #[serde(default, deserialize_with = "present_value")]
    before: Option<String>,
    #[serde(default)]
    limit: PageSize,
}

#[derive(Serialize)]
struct Page {
    jobs: Vec<Job>,
    next: Option<Uuid>,
}

async fn list(
    State(state): State<AppState>,
    Params(ListParams {
        before,
        limit: PageSize(limit),
    }): Params<ListParams>,
) -> Result<Json<Page>, ApiError> {
    let before = before.map(|text| {
        let wrong =
            || "`before` is not a job's id; give the `next` of the previous page".to_owned();
        Uuid::try_parse(&text).map_err(|_| ApiError::Invalid("invalid_parameter", wrong()))
    });
    let jobs = &state.parts().jobs;
    let mut page = jobs.list(before.transpose()?, limit + 1).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().map(|job| job.id).filter(|_| more);
    Ok(Json(Page { jobs: page, next }))
}

async fn job(state: &AppState, id: &str) -> Result<Job, ApiError> {
    let uuid = Uuid::try_parse(id);
    let uuid = uuid.map_err(|_| ApiError::NoJob(id.chars().take(40).collect()))?;
    Ok(state.parts().jobs.find(uuid).await?)
}

/// Returns a job that the caller may see. Others do not exist for the caller.
async fn job_of(state: &AppState, caller: &Caller, id: &str) -> Result<Job, ApiError> {
    let job = job(state, id).await?;
    if caller.can_access_jobs_of(job.owner.as_deref()) {
        Ok(job)
    } else {
        Err(JobError::NoJob { id: job.id }.into())
    }
}

async fn read(
    State(state): State<AppState>,
    caller: Caller,
    Name(id): Name,
) -> Result<Json<Job>, ApiError> {
    Ok(Json(job_of(&state, &caller, &id).await?))
}

async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    Name(id): Name,
) -> Result<Json<Job>, ApiError> {
    let id = job_of(&state, &caller, &id).await?.id;
    Ok(Json(state.parts().jobs.cancel(id).await?))
}

async fn remove(State(state): State<AppState>, Name(id): Name) -> Result<StatusCode, ApiError> {
    let id = job(&state, &id).await?.id;
    state.parts().jobs.remove(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Streams the events of a job until it is over: all, or those after the caller's last event.
async fn events(
    State(state): State<AppState>,
    caller: Caller,
    Name(id): Name,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    let id = job_of(&state, &caller, &id).await?.id;
    let last = headers.get(LAST_EVENT_ID);
    let last = last.map(|last| last.to_str().ok().and_then(|last| last.parse().ok()));
    let after: u32 = last.unwrap_or(Some(0)).ok_or_else(|| {
        let detail = "last-event-id is not the id of an event, a whole number".to_owned();
        ApiError::Invalid("invalid_parameter", detail)
    })?;
    let batches = stream::unfold(Some(after), move |after| {
        let state = state.clone();
        async move {
            let after = after?;
            let more = next_events(&state, id, after).await;
            let (last, over) = match more.last() {
                Some(last) => (last.id, is_last(last)),
                None => return None,
            };
            Some((
                stream::iter(more.into_iter().map(to_sse)),
                (!over).then_some(last),
            ))
        }
    });
    Ok(Sse::new(batches.flatten()).keep_alive(KeepAlive::default()))
}

/// Waits for events after one and returns them; none if no more will come.
async fn next_events(state: &AppState, id: Uuid, after: u32) -> Vec<Event> {
    let jobs = &state.parts().jobs;
    let mut changes = jobs.changes();
    let mut was_over = false;
    while state.is_ready() {
        changes.mark_unchanged();
        let found = jobs.events(id, after).await.unwrap_or_default();
        if !found.is_empty() || was_over {
            return found;
        }
        // The last event is written a moment after the job's state, so look for it once more.
        let job = jobs.get(id).await;
        was_over = job.map_or(true, |job| job.state.is_over());
        let _ = tokio::time::timeout(READY_CHECK_INTERVAL, changes.changed()).await;
    }
    Vec::new()
}

/// Returns true if no event follows this one.
fn is_last(event: &Event) -> bool {
    ["succeeded", "failed", "cancelled"].contains(&event.event.as_str())
}

fn to_sse(event: Event) -> Result<SseEvent, Infallible> {
    let mut data = event.data;
    if let Some(data) = data.as_object_mut() {
        data.insert("at_ms".to_owned(), event.at_ms.into());
    }
    let sse = SseEvent::default()
        .id(event.id.to_string())
        .event(event.event);
    Ok(sse.data(data.to_string()))
}
