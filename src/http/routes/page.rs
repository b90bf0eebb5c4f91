//! `/` and `/web/…`: the web page, whose files are built into the program. Clients that do not
//! accept HTML get a short text instead.

use axum::{
    Router,
    http::{
        HeaderMap,
        header::{self, HeaderValue},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::Embed;

use crate::http::{
    error::ApiError, extract::Name, routes::static_files::StaticFile, state::AppState,
};

#[derive(Embed)]
#[folder = "web/"]
struct Files;

const ROOT_TEXT: &str = "scihcgrl: image retrieval by learned hash codes

POST /search        similar images   POST /encode   codes of an image
PUT  /images/{id}   store an image   GET  /images   stored images
GET  /info          model and index  GET  /docs     all routes
GET  /              in a browser, a page for all of this
";

/// The content security policy of the page: it may use only this service. `blob:` is for pictures
/// that the page fetched with a key or is about to send.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// These routes need no key and answer in every state of the service: the page asks for a key, and
/// shows the service's state.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(root))
        .route("/web/{file}", get(file))
}

async fn root(headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    let html = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html"));
    let mut response = match answer("index.html", &headers).filter(|_| html) {
        Some(page) => page,
        None => ROOT_TEXT.into_response(),
    };
    // In addition to the vary header of the file.
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    response
}

async fn file(Name(name): Name, headers: HeaderMap) -> Result<Response, ApiError> {
    let found = answer(&name, &headers);
    found.ok_or_else(|| ApiError::NoRoute(format!("/web/{name}")))
}

fn answer(name: &str, headers: &HeaderMap) -> Option<Response> {
    let load = || {
        let media_type = match name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        };
        Some((Files::get(name)?.data, media_type.to_owned()))
    };
    let file = StaticFile::at(&format!("/web/{name}"), load)?;
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Some((fixed, file.answer(headers)).into_response())
}
