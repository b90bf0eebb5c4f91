//! The metrics: one table with the name, the help and the series of each. All metrics exist from
//! the start.

use std::sync::LazyLock;

use metrics::{
    Label, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// The series that a metric has before anything is measured.
enum Start {
    /// None: its label values are not known yet.
    Nothing,
    /// One without labels.
    Plain,
    /// One for each combination of these label values.
    Labels(&'static [(&'static str, &'static [&'static str])]),
}

use Start::{Labels, Nothing, Plain};

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! metrics {
    ($($kind:ident $constant:ident = $name:literal, $start:expr, $help:literal;)+) => {
        $(#[doc = $help] pub const $constant: &str = $name;)+

        const METRICS: &[(Kind, &str, Start, &str)] = &[$((Kind::$kind, $name, $start, $help)),+];
    };
}

metrics! {
    Counter REQUESTS = "scihcgrl_requests_total", Nothing, "Requests answered.";
    Histogram REQUEST_SECONDS = "scihcgrl_request_duration_seconds", Nothing,
        "Time from a request's head to the head of its answer.";
    Gauge IN_FLIGHT = "scihcgrl_requests_in_flight", Plain, "Requests in progress.";
    Gauge REQUEST_MEMORY = "scihcgrl_request_memory_bytes", Nothing,
        "Bytes of memory reserved for requests and answers.";
    Gauge REQUEST_MEMORY_LIMIT = "scihcgrl_request_memory_limit_bytes", Nothing,
        "Maximum number of bytes that can be reserved for requests and answers.";
    Counter PANICS = "scihcgrl_panics_total", Plain, "Panics, caught or not.";
    Counter DECODER_FAILURES = "scihcgrl_decoder_failures_total", Plain,
        "Decoder processes that crashed or were ended at a limit.";
    Gauge QUEUE_DEPTH = "scihcgrl_queue_depth", Plain,
        "Images between their acceptance and their codes.";
    Counter IMAGES_DROPPED = "scihcgrl_images_dropped_total",
        Labels(&[("reason", &["full", "late", "disconnected", "failed"])]),
        "Images that got no codes.";
    Histogram QUEUE_SECONDS = "scihcgrl_queue_duration_seconds", Plain,
        "Time that an image waited for the model.";
    Histogram DECODE_SECONDS = "scihcgrl_decode_duration_seconds", Plain,
        "Time to decode and resize an image.";
    Histogram INFERENCE_SECONDS = "scihcgrl_inference_duration_seconds", Plain,
        "Time of a forward pass.";
    Histogram BATCH_IMAGES = "scihcgrl_batch_images", Plain, "Images in a forward pass.";
    Histogram INDEX_SECONDS = "scihcgrl_index_duration_seconds", Plain,
        "Time of a search in the index.";
    Histogram ORIGINAL_SECONDS = "scihcgrl_original_duration_seconds",
        Labels(&[("operation", &["put", "get"])]), "Time to store or fetch an original.";
    Gauge IMAGES = "scihcgrl_images", Plain, "Images stored.";
    Gauge UNCODED = "scihcgrl_images_uncoded", Plain, "Uncoded images, which no search finds.";
    Gauge DISTINCT_CODES = "scihcgrl_distinct_codes", Nothing, "Distinct codes of a length.";
    Gauge GENERATION = "scihcgrl_generation", Plain, "The number of the active generation.";
    Gauge STANDBY_MISSING = "scihcgrl_standby_images_missing", Plain,
        "Images without codes of the standby model.";
    Gauge JOBS = "scihcgrl_jobs", Labels(&[("state", &["queued", "running"])]),
        "Jobs that are queued or running.";
    Counter JOBS_FINISHED = "scihcgrl_jobs_finished_total",
        Labels(&[
            ("kind", &["fine_tune", "adapt", "reencode", "find_duplicates"]),
            ("state", &["succeeded", "failed", "cancelled"]),
        ]),
        "Finished jobs.";
    Counter JOB_RANGES = "scihcgrl_job_ranges_encoded_total", Plain,
        "Ranges of a shared gallery that this process encoded for a job.";
    Gauge SNAPSHOT_SECONDS = "scihcgrl_snapshot_timestamp_seconds", Plain,
        "The time of the newest snapshot, in seconds since 1970; 0 if there is none.";
    Gauge INDEX_BYTES = "scihcgrl_index_memory_bytes", Plain, "The memory of the directory.";
    Gauge DISK_BYTES = "scihcgrl_store_disk_bytes", Plain, "The size of the data folder.";
    Gauge DISK_FULL = "scihcgrl_disk_full", Plain,
        "1 if the disk of the data folder is full, so that writes are refused.";
    Gauge ORIGINALS_UNAVAILABLE = "scihcgrl_originals_unavailable", Plain,
        "1 if originals cannot be written, so that images are refused.";
    Gauge STORE_DAMAGED = "scihcgrl_store_damaged", Plain,
        "Damaged parts of the store, found when it was opened.";
    Gauge INFO = "scihcgrl_info", Nothing, "1 for the active and 0 for the standby model.";
    Gauge READY = "scihcgrl_ready", Plain, "1 if requests are answered.";
    Gauge LOG_POSITION = "scihcgrl_log_position", Plain,
        "The position up to which a replica has applied the log.";
    Gauge LOG_LAG = "scihcgrl_log_lag", Plain,
        "Writes by which a replica is known to be behind the log.";
    Gauge LOG_SILENCE = "scihcgrl_log_silence_seconds", Plain,
        "Time since the log last answered a replica.";
    Counter LOG_UNREADABLE = "scihcgrl_log_unreadable_total", Plain,
        "Unreadable messages of the log, which were skipped.";
}

/// In seconds, from a probe of the index to a request that hangs.
const SECOND_BUCKETS: [f64; 16] = [
    1e-5, 5e-5, 2e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Returns the process's metrics. The first call creates them and sets them to zero.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: LazyLock<PrometheusHandle> = LazyLock::new(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Full(BATCH_IMAGES.to_owned()), &BATCH_BUCKETS)
            .and_then(|builder| {
                let seconds = Matcher::Suffix("_seconds".to_owned());
                builder.set_buckets_for_metric(seconds, &SECOND_BUCKETS)
            });
        // Only an empty list of buckets is an error.
        let recorder = builder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::error!("another metrics recorder is installed; this one records nothing");
        }
        for (kind, name, start, help) in METRICS {
            let series = series(start);
            match kind {
                Kind::Counter => {
                    describe_counter!(*name, *help);
                    (series.into_iter()).for_each(|labels| counter!(*name, labels).absolute(0));
                }
                Kind::Gauge => {
                    describe_gauge!(*name, *help);
                    (series.into_iter()).for_each(|labels| gauge!(*name, labels).set(0.0));
                }
                Kind::Histogram => {
                    describe_histogram!(*name, *help);
                    // A histogram appears as soon as it is named.
                    (series.into_iter()).for_each(|labels| drop(histogram!(*name, labels)));
                }
            }
        }
        handle
    });
    &HANDLE
}

/// The labels of each series.
fn series(start: &Start) -> Vec<Vec<Label>> {
    let labels = match start {
        Nothing => return Vec::new(),
        Plain => &[][..],
        Labels(labels) => labels,
    };
    labels
        .iter()
        .fold(vec![Vec::new()], |series, (key, values)| {
            let with = |labels: Vec<Label>| {
                values.iter().map(move |value| {
                    let mut labels = labels.clone();
                    labels.push(Label::new(*key, *value));
                    labels
                })
            };
            series.into_iter().flat_map(with).collect()
        })
}
