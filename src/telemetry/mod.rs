//! Logs as text or JSON, spans for an OpenTelemetry collector, and metrics.
//!
//! - `line_writer`: writes each log event on one line
//! - `metrics`: the table of all metrics

mod line_writer;
mod metrics;

use std::env;

use ::metrics::counter;
use http::HeaderMap;
use opentelemetry::{propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

pub use self::metrics::*;
use crate::config::LogFormat;
use line_writer::LineWriter;

/// Starts logging to standard error, filtered by `RUST_LOG`; counting panics; and, if
/// `OTEL_EXPORTER_OTLP_ENDPOINT` is set, sending spans to an OpenTelemetry collector (OTLP over
/// HTTP). Must be called once per process.
pub fn start(format: LogFormat) -> Traces {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let lines = fmt::layer().with_writer(|| LineWriter);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    let exporter =
        env::var_os(ENDPOINT_VARIABLE).map(|_| SpanExporter::builder().with_http().build());
    let (provider, failed) = match exporter.transpose() {
        Ok(exporter) => (exporter.map(provider), None),
        Err(error) => (None, Some(error)),
    };
    let spans = provider.as_ref().map(|provider| {
        let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
        tracing_opentelemetry::layer().with_tracer(tracer)
    });
    tracing_subscriber::registry()
        .with(spans)
        .with(lines)
        .with(filter)
        .init();
    if let Some(error) = failed {
        tracing::error!(%error, "{ENDPOINT_VARIABLE} cannot be used; no spans are sent");
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        counter!(PANICS).increment(1);
        previous(panic);
    }));
    Traces(provider)
}

const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn provider(exporter: SpanExporter) -> SdkTracerProvider {
    let resource = match env::var_os("OTEL_SERVICE_NAME") {
        Some(_) => Resource::builder(),
        None => Resource::builder().with_service_name(env!("CARGO_PKG_NAME")),
    };
    SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_batch_exporter(exporter)
        .build()
}

/// The spans that are not yet sent to a collector. Sends them when dropped.
pub struct Traces(Option<SdkTracerProvider>);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            eprintln!("cannot send the last spans: {error}");
        }
    }
}

/// Makes a request's span part of the client's trace, if the request has a `traceparent` header
/// (W3C Trace Context).
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // Fails only if no spans are sent.
    let _ = span.set_parent(caller);
}
