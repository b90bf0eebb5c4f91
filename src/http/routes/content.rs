//! `/images/{id}/content`: originals as they were uploaded, with an entity tag so that clients can
//! cache them.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    http::{
        body::response::with_reservation, error::ApiError, extract::Id,
        middleware::base_path::with_base, state::AppState,
    },
    image,
    index::{ImageId, Record},
};

/// The characters of an id that are escaped in a path.
const PATH_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'-');

/// The content security policy of an original that a browser opens as a page: it may do nothing.
const POLICY: &str = "sandbox; default-src 'none'";

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/images/{id}/content", get(content))
}

/// Returns the path of an image, without the base path.
pub(crate) fn image_url(id: &ImageId) -> String {
    format!("/images/{}", utf8_percent_encode(id.as_str(), PATH_ESCAPES))
}

/// Returns the path of an image's original, with the base path.
pub(crate) fn content_url(id: &ImageId) -> String {
    with_base(&format!("{}/content", image_url(id)))
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
        let caching = [
            (header::ETAG, etag(&state, &record)),
            // It may be replaced at any time, so a cache must revalidate it.
            (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        ];
        if is_cached(&headers, &caching[0].1) {
            return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
        }
        let reservation = state.reserve_answer_when_free(record.bytes).await?;
        // The image was replaced or deleted since the record was read.
        let Some(bytes) = state.parts().gallery.original(&record).await? else {
            continue;
        };
        let about = [
            // Not the record's: an earlier version of `import` took it from the export unchecked.
            (
                header::CONTENT_TYPE,
                image::media_type(&bytes).unwrap_or("application/octet-stream"),
            ),
            // An upload may be HTML after a picture's first bytes; browsers must not detect or run
            // it.
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
        ];
        return Ok(with_reservation(
            (caching, about, bytes).into_response(),
            reservation,
        ));
    }
}

/// Returns the tag of an original: the store's id and the original key. It is unique to an upload,
/// so the original is not read for it.
fn etag(state: &AppState, record: &Record) -> String {
    let store = state.parts().gallery.index().id();
    let key = record.original.map(|key| key.to_string());
    format!("\"{store}/{}\"", key.unwrap_or_default())
}

/// Returns true if the client has the content with this tag.
pub(crate) fn is_cached(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*")
}
