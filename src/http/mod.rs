//! The HTTP layer: the router, and the middleware around all routes.
//!
//! - `routes`: handlers, with the requests and answers of each route
//! - `middleware`: layers around routes
//! - `extract`: request bodies and parameters
//! - `body`: memory and files for bodies
//! - `encode`: images to codes
//! - `error`: failures as `application/problem+json`; its `status` has all statuses of failures
//! - `etag`: preconditions
//! - `keys`: API keys and roles
//! - `origins`: origins and host names that may use the service
//! - `state`: the state that handlers share

mod body;
mod encode;
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

use body::response;
use middleware::{
    auth, connection_limit, drain_body, metrics, origin, readiness, replica_position,
    trace::{self, REQUEST_ID, Uuid7},
};
use routes::{
    batch, by_filter, content, duplicates, fields, health, images, jobs, models, overview, page,
    search, snapshots, static_files,
};

pub use body::budget::Budget;
pub use error::ApiError;
pub use keys::{KeyError, Keys, Peer, Role};
pub use middleware::base_path::BasePath;
pub use middleware::connection_limit::OverConnectionLimit;
pub use origins::Origins;
pub use state::{AppState, Parts};

/// Returns the router of a service.
pub fn router(state: AppState) -> Router {
    let base = state.parts().base.clone();
    let routes = Router::new()
        .merge(search::routes())
        .merge(images::routes())
        .merge(by_filter::routes())
        .merge(fields::routes())
        .merge(overview::routes())
        .merge(duplicates::routes())
        .merge(jobs::routes())
        .merge(models::routes())
        .merge(snapshots::routes())
        .merge(health::routes())
        .route_layer(from_fn_with_state(state.clone(), response::reserve_memory))
        // These reserve memory for their answers themselves, before they make them.
        .merge(content::routes())
        .merge(batch::routes());
    // Not needed without replication.
    let routes = match state.parts().replica {
        Some(_) => routes.route_layer(from_fn_with_state(
            state.clone(),
            replica_position::wait_for_position,
        )),
        None => routes,
    };
    let routes = routes
        .route_layer(from_fn_with_state(state.clone(), readiness::require_ready))
        .merge(health::docs_pages())
        .merge(page::routes())
        .merge(health::probes())
        .merge(metrics::routes())
        .layer(from_fn_with_state(state.clone(), auth::guard))
        .layer(from_fn_with_state(state.clone(), origin::guard));
    let routes = with_middleware(routes, &state.parts().origins, state.max_body_bytes());
    base.wrap(routes.with_state(state))
}

/// Returns the router of a worker: probes and metrics.
pub fn worker_router(state: AppState) -> Router {
    let routes = health::probes()
        .merge(metrics::routes())
        .layer(from_fn_with_state(state.clone(), auth::guard))
        .layer(from_fn_with_state(state.clone(), origin::guard));
    with_middleware(routes, &state.parts().origins, state.max_body_bytes()).with_state(state)
}

/// Adds the middleware of all routes. The first layer is the outermost.
fn with_middleware<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    origins: &Origins,
    max_body_bytes: usize,
) -> Router<S> {
    let layers = ServiceBuilder::new()
        .layer(map_request(trace::drop_unsafe_id))
        .layer(SetRequestIdLayer::x_request_id(Uuid7))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(trace::request_span)
                .on_request(())
                .on_response(trace::log_response)
                .on_failure(()),
        )
        .layer(from_fn(metrics::observe))
        .layer(
            CompressionLayer::new()
                .compress_when(DefaultPredicate::new().and(static_files::is_not_static)),
        )
        .layer(cors(origins))
        .layer(from_fn(error::problem::write_problem))
        .layer(CatchPanicLayer::new())
        .layer(from_fn(connection_limit::guard))
        .layer(from_fn(drain_body::drain_body))
        .layer(DefaultBodyLimit::max(max_body_bytes));
    routes.layer(layers)
}

/// Lets pages of the allowed origins use everything that the service offers. They need keys too.
fn cors(origins: &Origins) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.cors())
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
            HeaderName::from_static(replica_position::AFTER_HEADER),
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("tracestate"),
        ])
        .expose_headers([
            HeaderName::from_static(replica_position::POSITION_HEADER),
            HeaderName::from_static(replica_position::LAG_HEADER),
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static(REQUEST_ID),
        ])
        .max_age(Duration::from_hours(1))
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
        let routes: Router =
            with_middleware(Router::new().route("/", fails), &Origins::default(), 1);
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
