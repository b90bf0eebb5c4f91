//! `/images`: storing, listing, reading, changing and removing images, with the types and limits of these routes.
//! Knows neither how an image is encoded nor how it is kept.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{self, get},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    code::{HashCode, Length},
    gallery::{GalleryError, check_each_label, check_labels, check_payload},
    http::{
        body::MAX_JSON_BYTES,
        error::ApiError,
        etag::{Preconditions, tag},
        extract::{
            Id, Object, Params, TimedBody, Upload, json,
            parameter::{PageSize, given},
        },
        routes::{
            content::{content_url, image_url, known},
            search::by_length,
        },
        state::{AppState, CHANGE, CHANGES, WhenFull},
    },
    index::{Cursor, ImageId, IndexError, NewImage, Precondition, Record},
};

pub(crate) fn routes() -> Router<AppState> {
    let change = routing::patch(patch).layer(DefaultBodyLimit::max(MAX_JSON_BYTES));
    Router::new()
        .route("/images", get(list).post(create))
        .route(
            "/images/{id}",
            get(read).put(put).delete(delete).merge(change),
        )
}

/// A record as answers show it.
#[derive(Serialize)]
pub(crate) struct Image {
    id: ImageId,
    codes: BTreeMap<Length, HashCode>,
    labels: Vec<String>,
    payload: Option<Value>,
    media_type: String,
    bytes: u64,
    created_at_ms: u64,
    updated_at_ms: u64,
    content_url: String,
}

impl From<Record> for Image {
    fn from(record: Record) -> Self {
        Image {
            content_url: content_url(&record.id),
            id: record.id,
            codes: by_length(record.codes),
            labels: record.labels,
            payload: record.payload,
            media_type: record.media_type,
            bytes: record.bytes,
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

/// An answer that is one record, with the tag of its revision.
struct One(Record);

impl IntoResponse for One {
    fn into_response(self) -> Response {
        let tag = [(header::ETAG, tag(&self.0.revision))];
        (tag, Json(Image::from(self.0))).into_response()
    }
}

/// What may be said of a stored image beside its form.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutParams {
    #[serde(default)]
    pub label: Vec<String>,
}

async fn put(
    State(state): State<AppState>,
    Id(id): Id,
    Params(params): Params<PutParams>,
    Preconditions(expected): Preconditions,
    TimedBody(upload, _held): TimedBody<Upload>,
) -> Result<Response, ApiError> {
    store(state, id, params, upload, expected).await
}

async fn create(
    State(state): State<AppState>,
    Params(params): Params<PutParams>,
    TimedBody(upload, _held): TimedBody<Upload>,
) -> Result<Response, ApiError> {
    let id = Uuid::now_v7().to_string().parse()?;
    store(state, id, params, upload, Precondition::default()).await
}

async fn store(
    state: AppState,
    id: ImageId,
    params: PutParams,
    upload: Upload,
    expected: Precondition,
) -> Result<Response, ApiError> {
    let (record, created) = keep(&state, id, params, upload, expected, WhenFull::Refused).await?;
    let location = [(header::LOCATION, image_url(&record.id))];
    Ok(match created {
        true => (StatusCode::CREATED, location, One(record)).into_response(),
        false => One(record).into_response(),
    })
}

/// Encodes and stores an image, if the one with its id is as expected, and tells whether it is new.
pub(crate) async fn keep(
    state: &AppState,
    id: ImageId,
    params: PutParams,
    upload: Upload,
    expected: Precondition,
    turn: WhenFull,
) -> Result<(Record, bool), ApiError> {
    let labels = [params.label, upload.labels].concat();
    check_labels(&labels)?;
    check_payload(upload.payload.as_ref())?;
    // What cannot be is not encoded; whether it can be is decided when it is written. A replica may not know yet what its caller has seen.
    if !expected.is_anything() && state.parts().replica.is_none() {
        let (id, expected) = (id.clone(), expected.clone());
        state
            .read(move |index| index.expect(&id, &expected))
            .await?;
    }
    for _ in 0..CHANGES {
        let (codes, media_type) = state.encode_to_keep(upload.image.clone(), turn).await?;
        let image = NewImage {
            id: id.clone(),
            codes,
            labels: labels.clone(),
            payload: upload.payload.clone(),
            media_type: media_type.to_owned(),
            bytes: 0,
            original: None,
            times: None,
        };
        let (original, expected) = (upload.image.clone(), expected.clone());
        match state.parts().gallery.put(image, original, expected).await {
            // Another model became the active one meanwhile.
            Err(GalleryError::Index {
                source: IndexError::Generation { .. },
            }) => sleep(CHANGE).await,
            done => return Ok(done?),
        }
    }
    Err(ApiError::NotReady)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    #[serde(default)]
    label: Vec<String>,
    #[serde(default, deserialize_with = "given")]
    after: Option<String>,
    #[serde(default)]
    limit: PageSize,
}

#[derive(Serialize)]
struct Page {
    images: Vec<Image>,
    next: Option<Cursor>,
    total: u64,
}

async fn list(
    State(state): State<AppState>,
    Params(ListParams {
        label,
        after,
        limit: PageSize(limit),
    }): Params<ListParams>,
) -> Result<Json<Page>, ApiError> {
    check_each_label(&label)?;
    let after: Option<Cursor> = after.map(|cursor| cursor.parse()).transpose()?;
    let listing = state
        .read(move |index| index.list(&label, after, limit))
        .await?;
    Ok(Json(Page {
        images: listing.records.into_iter().map(Image::from).collect(),
        next: listing.next,
        total: listing.total,
    }))
}

async fn read(
    State(state): State<AppState>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = ApiError::NoImage(id.to_string());
    let record = state.read(move |index| index.get(&id)).await?;
    let record = record.ok_or(missing)?;
    let tag = tag(&record.revision);
    Ok(match known(&headers, &tag) {
        true => (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response(),
        false => One(record).into_response(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    labels: Option<Vec<String>>,
    /// Null, which removes it, is told from nothing, which keeps it.
    #[serde(default, deserialize_with = "given")]
    payload: Option<Option<Box<RawValue>>>,
}

async fn patch(
    State(state): State<AppState>,
    Id(id): Id,
    Preconditions(expected): Preconditions,
    TimedBody(Json(Object(Change { labels, payload })), _held): TimedBody<Json<Object<Change>>>,
) -> Result<One, ApiError> {
    check_labels(labels.as_deref().unwrap_or_default())?;
    let read = |payload: Option<Box<RawValue>>| payload.map(|payload| json(payload.get()));
    let payload = payload
        .map(|payload| read(payload).transpose())
        .transpose()?;
    check_payload(payload.as_ref().and_then(Option::as_ref))?;
    let missing = ApiError::NoImage(id.to_string());
    let index = state.parts().gallery.index();
    let record = index.patch(id, labels, payload, expected).await;
    Ok(One(record.map_err(refused)?.ok_or(missing)?))
}

async fn delete(
    State(state): State<AppState>,
    Id(id): Id,
    Preconditions(expected): Preconditions,
) -> Result<StatusCode, ApiError> {
    let missing = ApiError::NoImage(id.to_string());
    let deleted = state.parts().gallery.index().delete(id, expected).await;
    match deleted.map_err(refused)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(missing),
    }
}

/// A condition counts for nothing where the request fails without it as well (RFC 9110, 13.2.1).
fn refused(error: IndexError) -> ApiError {
    match error {
        IndexError::PreconditionFailed { id, present: None } => ApiError::NoImage(id.to_string()),
        error => error.into(),
    }
}
