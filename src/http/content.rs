//! `/images/{id}/content`: originals as they were uploaded, sent once to whoever keeps them.
//! Knows nothing of records.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

use super::{error::ApiError, extract::Id, state::AppState};
use crate::index::{Content, ImageId};

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/images/{id}/content", get(content))
}

/// Where the original of an image is.
pub(super) fn content_url(id: &ImageId) -> String {
    format!("/images/{id}/content")
}

async fn content(
    State(state): State<AppState>,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let missing = ApiError::NoImage(id.to_string());
    let content = state.read(move |index| index.content(&id)).await?;
    let Content { bytes, media_type } = content.ok_or(missing)?;
    let tag = format!("\"{:x}\"", Sha256::digest(&bytes));
    let held = [
        (header::ETAG, tag.clone()),
        // It may be replaced at any time, so whoever keeps it asks whether it still is.
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
    ];
    if known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, held).into_response());
    }
    let about = [
        (header::CONTENT_TYPE, media_type),
        // An upload may be HTML behind a picture's first bytes; no browser shall find that out.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((held, about, bytes).into_response())
}

/// Whether the caller has the content with this tag already.
fn known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).into_iter();
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*")
}
