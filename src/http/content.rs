//! `/images/{id}/content`: originals as they were uploaded, sent once to whoever keeps them.
//! Knows a record by the name of its original, which tells one upload from another; not where originals lie.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{error::ApiError, extract::Id, state::AppState};
use crate::index::{ImageId, Record};

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
    loop {
        let (missing, id) = (ApiError::NoImage(id.to_string()), id.clone());
        let record = state.read(move |index| index.get(&id)).await?;
        let record = record.ok_or(missing)?;
        let held = [
            (header::ETAG, tag(&state, &record)),
            // It may be replaced at any time, so whoever keeps it asks whether it still is.
            (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        ];
        if known(&headers, &held[0].1) {
            return Ok((StatusCode::NOT_MODIFIED, held).into_response());
        }
        // It was replaced or deleted between record and original.
        let Some(bytes) = state.parts().gallery.original(&record).await? else {
            continue;
        };
        let about = [
            (header::CONTENT_TYPE, record.media_type),
            // An upload may be HTML behind a picture's first bytes; no browser shall find that out.
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        ];
        return Ok((held, about, bytes).into_response());
    }
}

/// The store and the name of the original in it: no other upload ever has both, so no original has to be read for its tag.
fn tag(state: &AppState, record: &Record) -> String {
    let store = state.parts().gallery.index().id();
    let name = record.original.map(|name| name.to_string());
    format!("\"{store}/{}\"", name.unwrap_or_default())
}

/// Whether the caller has the content with this tag already.
pub(super) fn known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).into_iter();
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*")
}
