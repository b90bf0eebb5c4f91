//! `/` and `/web/…`: the page, whose files lie in the program, under a policy that lets it ask this service and nobody else.
//! Knows files and headers; not what the page shows. Whoever does not ask for HTML gets a few lines of text instead.

use axum::{
    Router,
    http::{
        HeaderMap, HeaderName, StatusCode,
        header::{self, HeaderValue},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{Embed, EmbeddedFile};

use super::{content::known, error::ApiError, extract::Name, state::AppState};

#[derive(Embed)]
#[folder = "web/"]
struct Files;

const POINTER: &str = "scihcgrl: image retrieval by learned hash codes

POST /search        near images      POST /encode   codes of an image
PUT  /images/{id}   store an image   GET  /images   what is stored
GET  /info          model and index  GET  /docs     the whole contract
GET  /              in a browser, a page that does all of it
";

/// Pictures may be made in the page, of what was fetched with a key or is yet to be sent.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// They need no key and are there in every state of the service: it is the page that asks for keys, and tells what is wrong.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(root))
        .route("/web/{file}", get(file))
}

async fn root(headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    let html = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"));
    let vary = [(header::VARY, HeaderValue::from_static("accept"))];
    match Files::get("index.html").filter(|_| html) {
        Some(page) => (vary, answer("index.html", page, &headers)).into_response(),
        None => (vary, POINTER).into_response(),
    }
}

async fn file(Name(name): Name, headers: HeaderMap) -> Result<Response, ApiError> {
    let found = Files::get(&name);
    let found = found.ok_or_else(|| ApiError::NoRoute(format!("/web/{name}")))?;
    Ok(answer(&name, found, &headers))
}

fn answer(name: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let digest = &file.metadata.sha256_hash()[..8];
    let tag: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let held = [
        (header::ETAG, tag.clone()),
        // Asked for each time, so that a new version is seen at once.
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    if known(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, held).into_response();
    }
    let media_type = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let fixed = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("referrer-policy"), "no-referrer"),
    ];
    (held, fixed, file.data).into_response()
}
