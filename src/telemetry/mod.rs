//! What operators see: log lines as text or JSON, spans for a collector, and the metrics, each with its name, help and buckets and there
//! from the start.
//! Knows names and forms; not when any of it happens.

mod lines;

use std::{env, sync::LazyLock};

use axum::http::HeaderMap;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogFormat;
use lines::Lines;

/// Requests answered, by `method`, `route` and `status`.
pub const REQUESTS: &str = "scihcgrl_requests_total";
/// How long they took, by `route`: from the request's head to the answer's head.
pub const REQUEST_SECONDS: &str = "scihcgrl_request_duration_seconds";
/// Requests that are being answered.
pub const IN_FLIGHT: &str = "scihcgrl_requests_in_flight";
/// Panics, caught or not.
pub const PANICS: &str = "scihcgrl_panics_total";
/// Processes that crashed, or were ended at a limit, while they decoded a picture.
pub const DECODERS_LOST: &str = "scihcgrl_decoder_failures_total";
/// Images between their acceptance and their codes.
pub const QUEUE_DEPTH: &str = "scihcgrl_queue_depth";
/// Images that got no codes, by `reason`: `full`, `late`, `disconnected` or `failed`.
pub const DROPPED: &str = "scihcgrl_images_dropped_total";
/// How long images waited for the model.
pub const QUEUE_SECONDS: &str = "scihcgrl_queue_duration_seconds";
/// How long images took to be decoded and resized.
pub const DECODE_SECONDS: &str = "scihcgrl_decode_duration_seconds";
/// How long forward passes took.
pub const INFERENCE_SECONDS: &str = "scihcgrl_inference_duration_seconds";
/// How many images they had.
pub const BATCH_IMAGES: &str = "scihcgrl_batch_images";
/// How long searches of the index took.
pub const INDEX_SECONDS: &str = "scihcgrl_index_duration_seconds";
/// How long originals took to be kept or fetched, by `operation`: `put` or `get`.
pub const ORIGINAL_SECONDS: &str = "scihcgrl_original_duration_seconds";
/// Images stored.
pub const IMAGES: &str = "scihcgrl_images";
/// Different codes of each length, by `bits`.
pub const DISTINCT_CODES: &str = "scihcgrl_distinct_codes";
/// Images without codes, which no search finds.
pub const UNCODED: &str = "scihcgrl_images_uncoded";
/// The number of the generation of codes that is searched.
pub const GENERATION: &str = "scihcgrl_generation";
/// Images that lack codes of the model beside the active one.
pub const MISSING: &str = "scihcgrl_standby_images_missing";
/// Jobs that are not over, by `state`: `queued` or `running`.
pub const JOBS: &str = "scihcgrl_jobs";
/// Jobs that are over, by `kind` and `state`.
pub const JOBS_OVER: &str = "scihcgrl_jobs_finished_total";
/// Ranges of a gallery that this process encoded for a job, where several services share one.
pub const RANGES: &str = "scihcgrl_job_ranges_encoded_total";
/// When the newest snapshot was made.
pub const SNAPSHOT_SECONDS: &str = "scihcgrl_snapshot_timestamp_seconds";
/// Memory that the directory of codes takes.
pub const INDEX_BYTES: &str = "scihcgrl_index_memory_bytes";
/// Size of the data folder.
pub const DISK_BYTES: &str = "scihcgrl_store_disk_bytes";
/// Whether the disk of the data folder is full, so that writes are refused: 1 or 0.
pub const DISK_FULL: &str = "scihcgrl_disk_full";
/// Whether originals cannot be written at present, so that images are refused: 1 or 0.
pub const ORIGINALS_AWAY: &str = "scihcgrl_originals_unavailable";
/// Things found damaged when the data folder was opened.
pub const DAMAGED: &str = "scihcgrl_store_damaged";
/// 1, with the `version` of the program, and the `model` with its `device` and `precision`.
pub const INFO: &str = "scihcgrl_info";
/// Whether requests are taken: 1 or 0.
pub const READY: &str = "scihcgrl_ready";
/// How far a replica has applied the log of its gallery.
pub const LOG_POSITION: &str = "scihcgrl_log_position";
/// How many writes of the log a replica is known to be behind.
pub const LOG_LAG: &str = "scihcgrl_log_lag";
/// Messages of the log that were broken and passed over.
pub const LOG_BROKEN: &str = "scihcgrl_log_unreadable_total";
/// Bytes that the bodies of requests hold.
pub const HELD: &str = "scihcgrl_request_memory_bytes";
/// How many they may hold.
pub const HOLDABLE: &str = "scihcgrl_request_memory_limit_bytes";
/// How long ago the log last answered a replica.
pub const LOG_SILENCE: &str = "scihcgrl_log_silence_seconds";

const COUNTERS: [(&str, &str); 7] = [
    (REQUESTS, "Requests answered."),
    (PANICS, "Panics, caught or not."),
    (
        DECODERS_LOST,
        "Processes that failed while they decoded a picture.",
    ),
    (DROPPED, "Images that got no codes."),
    (
        LOG_BROKEN,
        "Messages of the log that were broken and passed over.",
    ),
    (JOBS_OVER, "Jobs that are over."),
    (RANGES, "Ranges of a shared gallery encoded here for a job."),
];

const GAUGES: [(&str, &str); 21] = [
    (IN_FLIGHT, "Requests that are being answered."),
    (HELD, "Bytes of memory that the bodies of requests hold."),
    (HOLDABLE, "How many bytes they may hold."),
    (
        QUEUE_DEPTH,
        "Images between their acceptance and their codes.",
    ),
    (IMAGES, "Images stored."),
    (UNCODED, "Images without codes, which no search finds."),
    (GENERATION, "The number of the generation that is searched."),
    (MISSING, "Images that lack codes of the model beside."),
    (JOBS, "Jobs that wait or are under way."),
    (
        SNAPSHOT_SECONDS,
        "When the newest snapshot was made, in seconds since 1970; 0 where there is none.",
    ),
    (DISTINCT_CODES, "Different codes of a length."),
    (INDEX_BYTES, "Memory that the directory of codes takes."),
    (DISK_BYTES, "Size of the data folder."),
    (
        DISK_FULL,
        "Whether the disk of the data folder is full, so that writes are refused.",
    ),
    (
        ORIGINALS_AWAY,
        "Whether originals cannot be written at present, so that images are refused.",
    ),
    (
        DAMAGED,
        "Things found damaged when the data folder was opened.",
    ),
    (INFO, "1, with what serves."),
    (READY, "Whether requests are taken."),
    (
        LOG_POSITION,
        "How far a replica has applied the log of its gallery.",
    ),
    (
        LOG_LAG,
        "How many writes of the log a replica is known to be behind.",
    ),
    (LOG_SILENCE, "How long ago the log last answered a replica."),
];

const HISTOGRAMS: [(&str, &str); 7] = [
    (
        REQUEST_SECONDS,
        "From a request's head to the head of its answer.",
    ),
    (QUEUE_SECONDS, "How long an image waited for the model."),
    (DECODE_SECONDS, "How long an image took to be decoded."),
    (INFERENCE_SECONDS, "How long a forward pass took."),
    (INDEX_SECONDS, "How long a search of the index took."),
    (
        ORIGINAL_SECONDS,
        "How long an original took to be kept or fetched.",
    ),
    (BATCH_IMAGES, "How many images a forward pass had."),
];

/// Seconds from a probe of the index to a request that hangs.
const SECONDS: [f64; 16] = [
    1e-5, 5e-5, 2e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const BATCHES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The process's metrics; the first use makes them, with every one that has no labels at zero.
pub fn metrics() -> &'static PrometheusHandle {
    static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Full(BATCH_IMAGES.to_owned()), &BATCHES)
            .and_then(|builder| {
                let seconds = Matcher::Suffix("_seconds".to_owned());
                builder.set_buckets_for_metric(seconds, &SECONDS)
            });
        // Buckets are refused where there are none, and there are.
        let recorder = builder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::error!("another recorder of metrics is installed; there will be none of ours");
        }
        start_at_zero();
        handle
    });
    &METRICS
}

fn start_at_zero() {
    for (name, help) in COUNTERS {
        describe_counter!(name, help);
    }
    for (name, help) in GAUGES {
        describe_gauge!(name, help);
    }
    for (name, help) in HISTOGRAMS {
        describe_histogram!(name, help);
    }
    counter!(PANICS).absolute(0);
    counter!(DECODERS_LOST).absolute(0);
    counter!(RANGES).absolute(0);
    counter!(LOG_BROKEN).absolute(0);
    for reason in ["full", "late", "disconnected", "failed"] {
        counter!(DROPPED, "reason" => reason).absolute(0);
    }
    for state in ["queued", "running"] {
        gauge!(JOBS, "state" => state).set(0.0);
    }
    for kind in ["fine_tune", "reencode", "find_duplicates"] {
        for state in ["succeeded", "failed", "cancelled"] {
            counter!(JOBS_OVER, "kind" => kind, "state" => state).absolute(0);
        }
    }
    for name in [
        IN_FLIGHT,
        QUEUE_DEPTH,
        IMAGES,
        UNCODED,
        GENERATION,
        MISSING,
        SNAPSHOT_SECONDS,
        INDEX_BYTES,
        DISK_BYTES,
        DISK_FULL,
        ORIGINALS_AWAY,
        DAMAGED,
        READY,
        LOG_POSITION,
        LOG_LAG,
        LOG_SILENCE,
    ] {
        gauge!(name).set(0.0);
    }
    for (name, _) in HISTOGRAMS {
        // Made, and so told; nothing has been measured yet.
        if ![REQUEST_SECONDS, ORIGINAL_SECONDS].contains(&name) {
            let _ = histogram!(name);
        }
    }
    for operation in ["put", "get"] {
        let _ = histogram!(ORIGINAL_SECONDS, "operation" => operation);
    }
}

/// Starts logging to standard error, `RUST_LOG` choosing what; counts panics from then on; and sends spans to an OpenTelemetry
/// collector where its own variables say so (`OTEL_EXPORTER_OTLP_ENDPOINT`, for OTLP over HTTP). Once in a process.
pub fn start(format: LogFormat) -> Traces {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let lines = fmt::layer().with_writer(|| Lines);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed(),
    };
    let exporter = env::var_os(ENDPOINT).map(|_| SpanExporter::builder().with_http().build());
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
        tracing::error!(%error, "{ENDPOINT} cannot be used; no spans are sent");
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        counter!(PANICS).increment(1);
        before(panic);
    }));
    Traces(provider)
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

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

/// Spans on their way to a collector, if there is one; dropped, it sends the rest.
pub struct Traces(Option<SdkTracerProvider>);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            eprintln!("the last spans were not sent: {error}");
        }
    }
}

/// Makes a request's span a part of its caller's trace, where the caller tells of one (W3C `traceparent`).
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // Refused only where no spans are sent.
    let _ = span.set_parent(caller);
}
