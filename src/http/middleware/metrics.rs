//! `GET /metrics`, and the layer that counts and times every request.
//! Knows routes as the router names them; what else is measured is measured where it happens.

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
        self, DAMAGED, DECODERS_LOST, DISK_BYTES, DISK_FULL, DISTINCT_CODES, GENERATION, HELD,
        HOLDABLE, IMAGES, IN_FLIGHT, INDEX_BYTES, INFO, JOBS, LOG_BROKEN, LOG_LAG, LOG_POSITION,
        LOG_SILENCE, MISSING, ORIGINALS_AWAY, READY, REQUEST_SECONDS, REQUESTS, UNCODED,
    },
};

/// The form of Prometheus's text.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/metrics", get(metrics))
}

/// Answered in every state of the service: one that drains is looked at most.
async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    let facts = state.read(|index| Ok(index.facts())).await?;
    let waiting = state.parts().jobs.waiting().await?;
    for (name, count) in [("queued", waiting.queued), ("running", waiting.running)] {
        gauge!(JOBS, "state" => name).set(count as f64);
    }
    let missing = state.parts().gallery.index().generations().missing;
    for (name, value) in [
        (IMAGES, facts.images),
        (UNCODED, facts.uncoded),
        (GENERATION, facts.generation.into()),
        (MISSING, missing),
        (INDEX_BYTES, facts.memory_bytes),
        (DISK_BYTES, facts.disk_bytes),
        (DAMAGED, facts.damage.len() as u64),
        (DISK_FULL, facts.disk_full.into()),
        (
            ORIGINALS_AWAY,
            state.parts().gallery.originals_are_away().into(),
        ),
        (HELD, state.budgets().map(|budget| budget.held()).sum()),
        (HOLDABLE, state.budgets().map(|budget| budget.total()).sum()),
        (READY, state.is_ready().into()),
    ] {
        gauge!(name).set(value as f64);
    }
    counter!(LOG_BROKEN).absolute(facts.log_broken);
    counter!(DECODERS_LOST).absolute(image::lost_decoders());
    if let Some(replica) = &state.parts().replica {
        let standing = replica.standing();
        gauge!(LOG_POSITION).set(standing.position as f64);
        gauge!(LOG_LAG).set(standing.lag as f64);
        gauge!(LOG_SILENCE).set(standing.heard.as_secs_f64());
    }
    for (length, count) in facts.distinct_codes {
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
        [(header::CONTENT_TYPE, TEXT)],
        telemetry::metrics().render(),
    )
        .into_response())
}

/// Counts one less when a request is done or its caller has gone.
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

/// Counts and times a request under the route it took; a path that is none would make a series of its own each time.
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

/// A caller may name a method of its own.
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
