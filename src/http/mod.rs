//! The HTTP layer: which routes there are and what wraps them all: request ids, traces, metrics, keys, limits, panics, readiness.
//! Knows no route's own request or answer; these live with their handlers in the files below.

mod body;
mod error;
mod etag;
mod extract;
mod keys;
mod middleware;
mod origins;
mod routes;
mod state;

use std::time::Duration;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, Method, header},
    middleware::{from_fn, from_fn_with_state, map_request},
};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, DefaultPredicate, Predicate},
    cors::CorsLayer,
    request_id::{PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};

use body::answer;
use middleware::{
    auth, crowd, linger, metrics, origin,
    trace::{self, REQUEST_ID, Uuid7},
};
use routes::{
    asset, batch, content, duplicates, health, images, jobs, models, overview, page, search,
    snapshots,
};

pub use body::budget::Budget;
pub use error::ApiError;
pub use keys::{KeyError, Keys, Peer, Role};
pub use middleware::base_path::Base;
pub use middleware::crowd::Crowded;
pub use origins::Origins;
pub use state::{AppState, Parts};

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
        .layer(map_request(trace::drop_odd_id))
        .layer(SetRequestIdLayer::x_request_id(Uuid7))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(trace::span)
                .on_request(())
                .on_response(trace::traced)
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, extract::Request, http::StatusCode, routing::get};
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
