//! `/fields`: the fields that filters can test. `/admin/fields`: declares and deletes them.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{self, get},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::{
    http::{
        body::MAX_JSON_BYTES,
        error::ApiError,
        extract::{FieldName, NoParams, Object, Params, TimedBody},
        state::AppState,
    },
    index::{Field, FieldPath, FieldStatus, FieldType},
    jobs::Job,
};

pub(crate) fn routes() -> Router<AppState> {
    let declare = routing::put(declare).layer(DefaultBodyLimit::max(MAX_JSON_BYTES));
    Router::new()
        .route("/fields", get(list))
        .route("/admin/fields", get(list_statuses))
        .route(
            "/admin/fields/{path}",
            get(read).delete(delete).merge(declare),
        )
}

#[derive(Serialize)]
struct Fields<T> {
    fields: Vec<T>,
}

/// A field as those see it who write filters.
#[derive(Serialize)]
struct FieldAnswer {
    path: FieldPath,
    r#type: FieldType,
    built: bool,
}

async fn statuses(state: &AppState) -> Result<Vec<FieldStatus>, ApiError> {
    state.read(|index| Ok(index.fields())).await
}

async fn list(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Fields<FieldAnswer>>, ApiError> {
    let statuses = statuses(&state).await?.into_iter();
    let fields = statuses.map(|status| FieldAnswer {
        path: status.field.path,
        r#type: status.field.kind,
        built: status.field.built,
    });
    Ok(Json(Fields {
        fields: fields.collect(),
    }))
}

async fn list_statuses(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Fields<FieldStatus>>, ApiError> {
    let fields = statuses(&state).await?;
    Ok(Json(Fields { fields }))
}

async fn find(state: &AppState, path: &FieldPath) -> Result<Option<FieldStatus>, ApiError> {
    let statuses = statuses(state).await?;
    Ok(statuses
        .into_iter()
        .find(|status| status.field.path == *path))
}

async fn read(
    State(state): State<AppState>,
    FieldName(path): FieldName,
) -> Result<Json<FieldStatus>, ApiError> {
    let found = find(&state, &path).await?;
    found.map(Json).ok_or(ApiError::NoField(path))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewField {
    r#type: FieldType,
}

#[derive(Serialize)]
struct Declared {
    #[serde(flatten)]
    field: Field,
    /// The job that builds the field, unless it is built.
    job: Option<Job>,
}

async fn declare(
    State(state): State<AppState>,
    FieldName(path): FieldName,
    TimedBody(Json(Object(new)), _meter): TimedBody<Json<Object<NewField>>>,
) -> Result<Response, ApiError> {
    let is_new = find(&state, &path).await?.is_none();
    let index = state.parts().gallery.index();
    let field = index.declare(path, new.r#type).await?;
    let job = match field.built {
        true => None,
        false => Some(state.parts().jobs.build_field(&field).await?),
    };
    let (status, location) = match &job {
        Some(job) => (StatusCode::ACCEPTED, format!("/admin/jobs/{}", job.id)),
        None if is_new => (StatusCode::CREATED, field_url(&field.path)),
        None => return Ok(Json(Declared { field, job }).into_response()),
    };
    let headers = [(header::LOCATION, location)];
    Ok((status, headers, Json(Declared { field, job })).into_response())
}

fn field_url(path: &FieldPath) -> String {
    let path = path.to_string();
    format!(
        "/admin/fields/{}",
        utf8_percent_encode(&path, NON_ALPHANUMERIC)
    )
}

async fn delete(
    State(state): State<AppState>,
    FieldName(path): FieldName,
) -> Result<StatusCode, ApiError> {
    let index = state.parts().gallery.index();
    if index.delete_field(path.clone()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NoField(path))
    }
}
