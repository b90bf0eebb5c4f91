//! Request ids, and a span and a log line for each request.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode},
    response::Response,
};
use tower_http::request_id::{MakeRequestId, RequestId};
use tracing::{Span, field};
use uuid::Uuid;

use crate::telemetry;

/// The header with the request's id, in requests and answers.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Makes request ids that sort by time, as log lines do.
#[derive(Clone)]
pub(crate) struct Uuid7;

impl MakeRequestId for Uuid7 {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        let id = HeaderValue::from_str(&Uuid::now_v7().to_string()).ok()?;
        Some(RequestId::new(id))
    }
}

/// Removes a client's request id unless it is visible ASCII of at most 128 bytes, because it is
/// written to logs and answers.
pub(crate) async fn drop_unsafe_id(mut request: Request) -> Request {
    let plain = |id: &HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if !request.headers().get(REQUEST_ID).is_none_or(plain) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

pub(crate) fn request_span(request: &Request) -> Span {
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = shorten(request.uri().path()),
        request_id = request_id(request),
        status = field::Empty,
    );
    telemetry::continue_trace(&span, request.headers());
    span
}

/// Returns the first 256 characters of a client's text, to log it or repeat it in an answer.
pub(crate) fn shorten(text: &str) -> &str {
    let end = text.char_indices().nth(256);
    end.map_or(text, |(end, _)| &text[..end])
}

pub(crate) fn log_response(response: &Response, latency: Duration, span: &Span) {
    span.record("status", response.status().as_u16());
    let latency_ms = millis(latency);
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(latency_ms, "failed");
    } else {
        tracing::info!(latency_ms, "answered");
    }
}

pub(crate) fn request_id(request: &Request) -> &str {
    let id = request.extensions().get::<RequestId>();
    id.and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default()
}

/// Returns milliseconds with microsecond precision.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
