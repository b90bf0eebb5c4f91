//! What is answered on a connection past the most: probes, and to all else that there are too many.
//! Knows which routes are probes; not how connections are counted.

use axum::{
    extract::Request,
    http::header::{CONNECTION, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::error::ApiError;

/// Marks requests of a connection past the most.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

/// Answers such a request, and closes its connection.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    if request.extensions().get::<Crowded>().is_none() {
        return next.run(request).await;
    }
    let mut response = match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" => next.run(request).await,
        _ => ApiError::Crowded.into_response(),
    };
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
