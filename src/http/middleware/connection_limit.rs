//! Answers only probes on a connection over the limit. `serve::connections` counts connections.

use axum::{
    extract::Request,
    http::header::{CONNECTION, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::error::ApiError;

/// Extension of requests on a connection over the limit.
#[derive(Clone, Copy, Debug)]
pub struct OverConnectionLimit;

/// Refuses all requests but probes on a connection over the limit, and closes the connection.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    if request.extensions().get::<OverConnectionLimit>().is_none() {
        return next.run(request).await;
    }
    let mut response = match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" => next.run(request).await,
        _ => ApiError::TooManyConnections.into_response(),
    };
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
