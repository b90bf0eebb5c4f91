//! `GET /metrics`, and the layer that counts and times requests by route.

use std::time::Instant;

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::{Gauge, counter, gauge, histogram};

use crate::{
    http::{error::ApiError, state::AppState},
    image,
    inference::serving::Models,
    telemetry::{
        self, DECODER_FAILURES, DISK_BYTES, DISK_FULL, DISTINCT_CODES, GENERATION, IMAGES,
        IN_FLIGHT, INDEX_BYTES, INFO, JOBS, LOG_LAG, LOG_POSITION, LOG_SILENCE, LOG_UNREADABLE,
        ORIGINALS_UNAVAILABLE, READY, REQUEST_MEMORY, REQUEST_MEMORY_LIMIT, REQUEST_SECONDS,
        REQUESTS, STANDBY_MISSING, STORE_DAMAGED, UNCODED,
    },
};

/// The content type of Prometheus's text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/metrics", get(metrics))
}

/// Answers in every state of the service, since operators watch a draining one most.
async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    let stats = state.read(|index| Ok(index.stats())).await?;
    let unfinished = state.parts().jobs.count_unfinished().await?;
    for (name, count) in [
        ("queued", unfinished.queued),
        ("running", unfinished.running),
    ] {
        gauge!(JOBS, "state" => name).set(count as f64);
    }
    let missing = state.parts().gallery.index().generations().missing;
    for (name, value) in [
        (IMAGES, stats.images),
        (UNCODED, stats.uncoded),
        (GENERATION, stats.generation.into()),
        (STANDBY_MISSING, missing),
        (INDEX_BYTES, stats.memory_bytes),
        (DISK_BYTES, stats.disk_bytes),
        (STORE_DAMAGED, stats.damage.len() as u64),
        (DISK_FULL, stats.disk_full.into()),
        (
            ORIGINALS_UNAVAILABLE,
            (!state.parts().gallery.can_write_originals()).into(),
        ),
        (
            REQUEST_MEMORY,
            state
                .budgets()
                .map(crate::http::body::budget::Budget::reserved)
                .sum(),
        ),
        (
            REQUEST_MEMORY_LIMIT,
            state
                .budgets()
                .map(crate::http::body::budget::Budget::total)
                .sum(),
        ),
        (READY, state.is_ready().into()),
    ] {
        gauge!(name).set(value as f64);
    }
    counter!(LOG_UNREADABLE).absolute(stats.log_broken);
    counter!(DECODER_FAILURES).absolute(image::decoder_failures());
    if let Some(replica) = &state.parts().replica {
        let status = replica.log_status();
        gauge!(LOG_POSITION).set(status.position as f64);
        gauge!(LOG_LAG).set(status.lag as f64);
        gauge!(LOG_SILENCE).set(status.silence.as_secs_f64());
    }
    for (length, count) in stats.distinct_codes {
        gauge!(DISTINCT_CODES, "bits" => length.to_string()).set(count as f64);
    }
    let Models { active, standby } = state.models();
    for (served, value) in [(Some(active), 1.0), (standby, 0.0)] {
        let Some(served) = served else { continue };
        let info = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("model", served.id.clone()),
            ("device", state.parts().serving.compute().device.clone()),
            ("precision", served.precision.to_string()),
        ];
        gauge!(INFO, &info).set(value);
    }
    metrics_process::Collector::default().collect();
    Ok((
        [(header::CONTENT_TYPE, PROMETHEUS_TEXT)],
        telemetry::metrics().render(),
    )
        .into_response())
}

/// Counts a request in progress until it is dropped: after the answer, or when the client has left.
struct InFlight(Gauge);

impl InFlight {
    fn new() -> Self {
        let gauge = gauge!(IN_FLIGHT);
        gauge.increment(1.0);
        InFlight(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Counts and times a request by its route. Paths without a route share one label: a series for
/// each would have no limit.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let _in_flight = InFlight::new();
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let method = method(request.method());
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    histogram!(REQUEST_SECONDS, "route" => route.clone()).record(started.elapsed());
    counter!(REQUESTS, "method" => method, "route" => route, "status" => status).increment(1);
    response
}

/// Returns the method's label. A client may invent methods, so unknown ones are counted as one.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
