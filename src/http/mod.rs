//! The HTTP layer: which routes there are and what wraps them all: request ids, traces, metrics, keys, limits, panics, readiness.
//! Knows no route's own request or answer; these live with their handlers in the files below.

mod body;
mod error;
mod etag;
mod extract;
mod middleware;
mod routes;
mod state;

use std::time::Duration;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{from_fn, from_fn_with_state, map_request},
    response::Response,
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, DefaultPredicate, Predicate},
    cors::CorsLayer,
    request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use tracing::{Span, field};
use uuid::Uuid;

use crate::{
    http::{
        body::answer,
        middleware::{auth, crowd, linger, metrics, origin},
        routes::{
            asset, batch, content, duplicates, health, images, jobs, models, overview, page,
            search, snapshots,
        },
    },
    telemetry,
};

pub use body::budget::Budget;
pub use error::ApiError;
pub use middleware::auth::{KeyError, Keys, Peer, Role};
pub use middleware::base_path::Base;
pub use middleware::crowd::Crowded;
pub use middleware::origin::Origins;
pub use state::{AppState, Parts};

/// The header that carries a request's id, both ways.
const REQUEST_ID: &str = "x-request-id";

/// Every route, ready to be served.
pub fn router(state: AppState) -> Router {
    let base = state.parts().base.clone();
    let routes = Router::new()
        .merge(search::routes())
        .merge(images::routes())
        .merge(overview::routes())
        .merge(duplicates::routes())
        .merge(jobs::routes())
        .merge(models::routes())
        .merge(snapshots::routes())
        .merge(health::routes())
        .route_layer(from_fn_with_state(state.clone(), answer::hold))
        // These know how long their answers are before they make them.
        .merge(content::routes())
        .merge(batch::routes());
    // A service alone has nothing of it.
    let routes = match state.parts().replica {
        Some(_) => routes.route_layer(from_fn_with_state(state.clone(), state::replicated)),
        None => routes,
    };
    let routes = routes
        .route_layer(from_fn_with_state(state.clone(), state::gate))
        .merge(health::pages())
        .merge(page::routes())
        .merge(health::probes())
        .merge(metrics::routes())
        .layer(from_fn_with_state(state.clone(), auth::guard))
        .layer(from_fn_with_state(state.clone(), origin::guard));
    let routes = layered(routes, &state.parts().origins, state.max_body_bytes());
    base.of(routes.with_state(state))
}

/// What a worker answers, ready to be served: how it is.
pub fn worker(state: AppState) -> Router {
    let routes = health::probes()
        .merge(metrics::routes())
        .layer(from_fn_with_state(state.clone(), auth::guard))
        .layer(from_fn_with_state(state.clone(), origin::guard));
    layered(routes, &state.parts().origins, state.max_body_bytes()).with_state(state)
}

/// Routes within what wraps them all; the first layer is the outermost.
fn layered<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    origins: &Origins,
    max_body_bytes: usize,
) -> Router<S> {
    let layers = ServiceBuilder::new()
        .layer(map_request(drop_odd_id))
        .layer(SetRequestIdLayer::x_request_id(Uuid7))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_request(())
                .on_response(traced)
                .on_failure(()),
        )
        .layer(from_fn(metrics::observe))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(asset::is_none)))
        .layer(cors(origins))
        .layer(from_fn(error::as_problem))
        .layer(CatchPanicLayer::new())
        .layer(from_fn(crowd::guard))
        .layer(from_fn(linger::linger))
        .layer(DefaultBodyLimit::max(max_body_bytes));
    routes.layer(layers)
}

/// What pages of other origins may do: all that the service does, with a key, where their origin is one of these.
fn cors(origins: &Origins) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.layer())
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static(REQUEST_ID),
            HeaderName::from_static(state::AFTER),
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
        ])
        .expose_headers([
            HeaderName::from_static(state::POSITION),
            HeaderName::from_static(state::LAG),
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static(REQUEST_ID),
        ])
        .max_age(Duration::from_secs(3600))
}

/// Ids sort by time, as log lines do.
#[derive(Clone)]
struct Uuid7;

impl MakeRequestId for Uuid7 {
    fn make_request_id<B>(&mut self, _: &axum::http::Request<B>) -> Option<RequestId> {
        let id = HeaderValue::from_str(&Uuid::now_v7().to_string()).ok()?;
        Some(RequestId::new(id))
    }
}

/// A caller's id goes into logs and answers, so only a plain one is kept.
async fn drop_odd_id(mut request: Request) -> Request {
    let plain = |id: &HeaderValue| {
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if !request.headers().get(REQUEST_ID).is_none_or(plain) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

fn span(request: &Request) -> Span {
    let span = tracing::info_span!(
        "request",
        method = %request.method(),
        path = start(request.uri().path()),
        request_id = request_id(request),
        status = field::Empty,
    );
    telemetry::continue_trace(&span, request.headers());
    span
}

/// As much of a caller's text as is logged or repeated to it.
fn start(text: &str) -> &str {
    let end = text.char_indices().nth(256);
    end.map_or(text, |(end, _)| &text[..end])
}

fn traced(response: &Response, latency: Duration, span: &Span) {
    span.record("status", response.status().as_u16());
    let latency_ms = millis(latency);
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(latency_ms, "failed");
    } else {
        tracing::info!(latency_ms, "answered");
    }
}

fn request_id(request: &Request) -> &str {
    let id = request.extensions().get::<RequestId>();
    id.and_then(|id| id.header_value().to_str().ok())
        .unwrap_or_default()
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use serde_json::Value;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_is_answered_as_a_problem() {
        let fails = get(|| async { panic!("a bug") as &'static str });
        let routes: Router = layered(Router::new().route("/", fails), &Origins::default(), 1);
        let request = Request::builder()
            .header(REQUEST_ID, "mine")
            .body(Body::empty());
        let answer = routes.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await;
        let problem: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(problem["code"], "internal");
        assert_eq!(problem["request_id"], "mine");
        assert!(!problem.to_string().contains("a bug"), "{problem}");
    }
}
