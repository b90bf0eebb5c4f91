//! `DELETE /images` and `PATCH /images`: jobs that delete or change all images that pass a filter.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    gallery::{check_labels, check_payload},
    http::{
        body::MAX_JSON_BYTES,
        error::ApiError,
        extract::{
            Object, Params, TimedBody,
            filter::parse_filter,
            form::parse_payload,
            idempotency_key::IdempotencyKey,
            parameters::{optional_whole_number, present_value},
        },
        keys::Caller,
        state::AppState,
    },
    index::{Filter, IndexError, ListQuery},
    jobs::{ChangeImages, DeleteImages, Submission, Task},
};

pub(crate) fn routes() -> Router<AppState> {
    let change = routing::patch(change).layer(DefaultBodyLimit::max(MAX_JSON_BYTES));
    Router::new().route("/images", routing::delete(delete).merge(change))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelectionParams {
    #[serde(default, deserialize_with = "present_value")]
    filter: Option<String>,
    #[serde(default)]
    label: Vec<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default, deserialize_with = "optional_whole_number")]
    expect: Option<u64>,
}

impl SelectionParams {
    /// Returns the filter. It is never empty: a script whose variable is empty must not
    /// change all images.
    fn filter(&self) -> Result<Filter, ApiError> {
        let is_blank = |text: &str| text.trim().is_empty();
        if self.filter.as_deref().is_some_and(is_blank) {
            return Err(ApiError::NoFilter);
        }
        let filter = parse_filter(self.filter.as_deref(), None, &self.label)?;
        let filter = filter.ok_or(ApiError::NoFilter)?;
        // The job parses the text. Together with the labels it may exceed the limits of texts.
        Ok(filter.to_string().parse().map_err(IndexError::from)?)
    }
}

#[derive(Serialize)]
struct Count {
    count: u64,
}

async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    Params(params): Params<SelectionParams>,
    key: IdempotencyKey,
) -> Result<Response, ApiError> {
    let task = Task::DeleteImages(DeleteImages {
        filter: params.filter()?,
        expect: params.expect,
    });
    start(&state, &caller, &params, task, key).await
}

/// A change of many images. Members that are missing change nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImagesPatch {
    #[serde(default, deserialize_with = "present_value")]
    labels: Option<Vec<String>>,
    #[serde(default)]
    add_labels: Vec<String>,
    #[serde(default)]
    remove_labels: Vec<String>,
    /// A merge patch (RFC 7396); null removes the payload.
    #[serde(default, deserialize_with = "present_value")]
    payload: Option<Box<RawValue>>,
}

async fn change(
    State(state): State<AppState>,
    caller: Caller,
    Params(params): Params<SelectionParams>,
    key: IdempotencyKey,
    TimedBody(Json(Object(patch)), _meter): TimedBody<Json<Object<ImagesPatch>>>,
) -> Result<Response, ApiError> {
    let filter = params.filter()?;
    let ImagesPatch {
        labels,
        add_labels,
        remove_labels,
        payload,
    } = patch;
    for labels in [labels.as_ref(), Some(&add_labels), Some(&remove_labels)] {
        check_labels(labels.map_or(&[], Vec::as_slice))?;
    }
    let payload = payload.map(|text| parse_payload(text.get())).transpose()?;
    check_payload(payload.as_ref())?;
    let change = ChangeImages {
        filter,
        expect: params.expect,
        labels,
        add_labels,
        remove_labels,
        payload,
    };
    change.check()?;
    let task = Task::ChangeImages(change.into());
    start(&state, &caller, &params, task, key).await
}

/// Creates the job, or counts its images in a dry run. Refuses an unexpected count at once; the job
/// counts again when it starts.
async fn start(
    state: &AppState,
    caller: &Caller,
    params: &SelectionParams,
    task: Task,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Response, ApiError> {
    let query = ListQuery {
        filter: task.filter().cloned(),
        ..ListQuery::default()
    };
    let count = state.read(move |index| Ok(index.list(&query)?.total));
    let found = count.await?;
    // A retry must get the job of its key, even if that has changed the count.
    let is_early = params.dry_run || key.is_none();
    match params.expect {
        Some(expected) if expected != found && is_early => {
            return Err(ApiError::Count { found, expected });
        }
        _ if params.dry_run => return Ok(Json(Count { count: found }).into_response()),
        _ => {}
    }
    let owner = caller.owner();
    // Callers do not know each other's keys. No client can use such a key, because it has a space.
    let key = key.map(|key| match &owner {
        Some(owner) => format!("{owner} {key}"),
        None => key,
    });
    let created = state.parts().jobs.create(Submission {
        owner,
        key: key.as_deref(),
        ..task.into()
    });
    let (job, is_new) = created.await?;
    let status = match is_new {
        true => StatusCode::ACCEPTED,
        false => StatusCode::OK,
    };
    let location = format!("/admin/jobs/{}", job.id);
    Ok((status, [(header::LOCATION, location)], Json(job)).into_response())
}
