//! `/images/{id}/content`: originals as they were uploaded, sent once to whoever keeps them.
//! Knows a record by the name of its original, which tells one upload from another; not where originals lie.

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
        body::answer::holding, error::ApiError, extract::Id, middleware::base_path::address,
        state::AppState,
    },
    image,
    index::{ImageId, Record},
};

/// What is escaped of an id in a path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'-');

/// What an original may do that is opened as a page: nothing.
const POLICY: &str = "sandbox; default-src 'none'";

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/images/{id}/content", get(content))
}

/// Where an image is, from the base path on.
pub(crate) fn image_url(id: &ImageId) -> String {
    format!("/images/{}", utf8_percent_encode(id.as_str(), ESCAPED))
}

/// Where the original of an image is.
pub(crate) fn content_url(id: &ImageId) -> String {
    address(&format!("{}/content", image_url(id)))
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
        let bytes_held = state.hold_answer_soon(record.bytes).await?;
        // It was replaced or deleted between record and original.
        let Some(bytes) = state.parts().gallery.original(&record).await? else {
            continue;
        };
        let about = [
            // Not as the record has it: an earlier `import` took what the export said.
            (
                header::CONTENT_TYPE,
                image::media_type(&bytes).unwrap_or("application/octet-stream"),
            ),
            // An upload may be HTML behind a picture's first bytes; no browser shall find that out, or run what it finds.
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
        ];
        return Ok(holding((held, about, bytes).into_response(), bytes_held));
    }
}

/// The store and the name of the original in it: no other upload ever has both, so no original has to be read for its tag.
fn tag(state: &AppState, record: &Record) -> String {
    let store = state.parts().gallery.index().id();
    let name = record.original.map(|name| name.to_string());
    format!("\"{store}/{}\"", name.unwrap_or_default())
}

/// Whether the caller has the content with this tag already.
pub(crate) fn known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get_all(header::IF_NONE_MATCH).into_iter();
    given
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*")
}
