//! `/` and `/web/…`: the page, whose files lie in the program, under a policy that lets it ask this service and nobody else.
//! Knows files and headers; not what the page shows. Whoever does not ask for HTML gets a few lines of text instead.

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

use crate::http::{error::ApiError, extract::Name, routes::asset::Asset, state::AppState};

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
        None => POINTER.into_response(),
    };
    // Beside what it varies by already.
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
    let asset = Asset::at(&format!("/web/{name}"), load)?;
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Some((fixed, asset.answer(headers)).into_response())
}
