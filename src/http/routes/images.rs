//! `/images`: stores, lists, reads, changes and deletes images.

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
    gallery::{GalleryError, check_labels, check_payload},
    http::{
        body::MAX_JSON_BYTES,
        encode::WhenFull,
        error::ApiError,
        etag::{Preconditions, etag},
        extract::{
            Id, Object, Params, TimedBody,
            filter::parse_filter,
            form::{ImageUpload, parse_payload},
            parameters::{PageSize, present_value},
        },
        routes::{
            content::{content_url, image_url, is_cached},
            search::by_length,
        },
        state::{AppState, MAX_RETRIES, RETRY_DELAY},
    },
    index::{Cursor, ImageId, IndexError, ListQuery, NewImage, Precondition, Record},
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

/// A record in an answer.
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

/// An answer with one record and the tag of its revision.
struct ImageAnswer(Record);

impl IntoResponse for ImageAnswer {
    fn into_response(self) -> Response {
        let tag = [(header::ETAG, etag(&self.0.revision))];
        (tag, Json(Image::from(self.0))).into_response()
    }
}

/// Parameters of a route that stores images; labels may be in the form too.
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
    TimedBody(upload, _meter): TimedBody<ImageUpload>,
) -> Result<Response, ApiError> {
    store(state, id, params, upload, expected).await
}

async fn create(
    State(state): State<AppState>,
    Params(params): Params<PutParams>,
    TimedBody(upload, _meter): TimedBody<ImageUpload>,
) -> Result<Response, ApiError> {
    let id = Uuid::now_v7().to_string().parse()?;
    store(state, id, params, upload, Precondition::default()).await
}

async fn store(
    state: AppState,
    id: ImageId,
    params: PutParams,
    upload: ImageUpload,
    expected: Precondition,
) -> Result<Response, ApiError> {
    let (record, created) =
        encode_and_store(&state, id, params, upload, expected, WhenFull::Refuse).await?;
    let location = [(header::LOCATION, image_url(&record.id))];
    Ok(if created {
        (StatusCode::CREATED, location, ImageAnswer(record)).into_response()
    } else {
        ImageAnswer(record).into_response()
    })
}

/// Encodes and stores an image if its precondition holds. Returns the record, and true if the image
/// is new.
pub(crate) async fn encode_and_store(
    state: &AppState,
    id: ImageId,
    params: PutParams,
    upload: ImageUpload,
    expected: Precondition,
    when_full: WhenFull,
) -> Result<(Record, bool), ApiError> {
    let labels = [params.label, upload.labels].concat();
    check_labels(&labels)?;
    check_payload(upload.payload.as_ref())?;
    // A cheap early check; the authoritative one is made when the write is applied. Not on a
    // replica, which may not have applied yet what the caller has seen elsewhere.
    if !expected.is_empty_condition() && state.parts().replica.is_none() {
        let (id, expected) = (id.clone(), expected.clone());
        state
            .read(move |index| index.check_precondition(&id, &expected))
            .await?;
    }
    for _ in 0..MAX_RETRIES {
        let (codes, media_type) = state
            .encoder()
            .encode_for_storage(state.models(), upload.image.clone(), when_full)
            .await?;
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
            // Another model was activated in between.
            Err(GalleryError::Index(IndexError::Generation { .. })) => sleep(RETRY_DELAY).await,
            result => return Ok(result?),
        }
    }
    Err(ApiError::NotReady)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    #[serde(default)]
    label: Vec<String>,
    #[serde(default, deserialize_with = "present_value")]
    filter: Option<String>,
    #[serde(default, deserialize_with = "present_value")]
    order_by: Option<String>,
    #[serde(default, deserialize_with = "present_value")]
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
        filter,
        order_by,
        after,
        limit: PageSize(limit),
    }): Params<ListParams>,
) -> Result<Json<Page>, ApiError> {
    let query = ListQuery {
        filter: parse_filter(filter.as_deref(), None, &label)?,
        order_by: order_by.map(|order| order.parse()).transpose()?,
        after: after.map(|cursor| cursor.parse()).transpose()?,
        limit,
    };
    let listing = state.read(move |index| index.list(&query)).await?;
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
    let tag = etag(&record.revision);
    Ok(if is_cached(&headers, &tag) {
        (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response()
    } else {
        ImageAnswer(record).into_response()
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImagePatch {
    labels: Option<Vec<String>>,
    /// `Some(None)` is null, which removes the payload; `None` keeps it.
    #[serde(default, deserialize_with = "present_value")]
    payload: Option<Option<Box<RawValue>>>,
}

async fn patch(
    State(state): State<AppState>,
    Id(id): Id,
    Preconditions(expected): Preconditions,
    TimedBody(Json(Object(ImagePatch { labels, payload })), _meter): TimedBody<
        Json<Object<ImagePatch>>,
    >,
) -> Result<ImageAnswer, ApiError> {
    check_labels(labels.as_deref().unwrap_or_default())?;
    let read = |payload: Option<Box<RawValue>>| payload.map(|payload| parse_payload(payload.get()));
    let payload = payload
        .map(|payload| read(payload).transpose())
        .transpose()?;
    check_payload(payload.as_ref().and_then(Option::as_ref))?;
    let missing = ApiError::NoImage(id.to_string());
    let index = state.parts().gallery.index();
    let record = index.patch(id, labels, payload, expected).await;
    Ok(ImageAnswer(
        record.map_err(without_precondition)?.ok_or(missing)?,
    ))
}

async fn delete(
    State(state): State<AppState>,
    Id(id): Id,
    Preconditions(expected): Preconditions,
) -> Result<StatusCode, ApiError> {
    let missing = ApiError::NoImage(id.to_string());
    let deleted = state.parts().gallery.index().delete(id, expected).await;
    if deleted.map_err(without_precondition)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing)
    }
}

/// Ignores a precondition on an image that does not exist, since the request would fail without it
/// too (RFC 9110, 13.2.1).
fn without_precondition(error: IndexError) -> ApiError {
    match error {
        IndexError::PreconditionFailed {
            id, present: None, ..
        } => ApiError::NoImage(id.to_string()),
        error => error.into(),
    }
}
