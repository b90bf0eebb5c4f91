//! The options of a service: each is a flag and an environment variable `SCIHCGRL_…` of the same
//! name. Plain data, with the parsers of its values.
//!
//! - `file`: options from a TOML file

mod file;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use url::Url;

use crate::index::SketchStorage;

pub use file::{FileError, defaults_from};
pub use scihcgrl_model::options::{Compute, Precision, Train};

/// The checkpoint that comes with the project.
pub const DEFAULT_MODEL: &str = "models/photos.safetensors";

/// Options of the service.
///
/// Keys come from `--keys-file` and from the variables `SCIHCGRL_READ_KEYS`, `SCIHCGRL_WRITE_KEYS`
/// and `SCIHCGRL_ADMIN_KEYS`, each with one key or two separated by a comma. There are no flags for
/// keys, because every user of a machine can see flags.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// The address to listen on. Other addresses than loopback need keys or `--insecure-no-auth`.
    #[arg(long, env = "SCIHCGRL_ADDR", default_value = "127.0.0.1:8080")]
    pub addr: SocketAddr,
    /// Listen on other addresses than loopback without keys. Anyone who can reach them may read and
    /// write.
    #[arg(long, env = "SCIHCGRL_INSECURE_NO_AUTH")]
    pub insecure_no_auth: bool,
    /// A TOML file with the keys of the roles `read`, `write` and `admin`, each a list of one or
    /// two keys.
    #[arg(long, env = "SCIHCGRL_KEYS_FILE", value_name = "FILE")]
    pub keys_file: Option<PathBuf>,
    /// Maximum number of requests per second with each key. Unlimited by default.
    #[arg(long, env = "SCIHCGRL_REQUESTS_PER_SECOND", value_name = "N")]
    pub requests_per_second: Option<NonZeroU32>,
    /// An origin whose pages may use the service from a browser, such as https://shop.example; `*`
    /// allows any. May be repeated.
    #[arg(
        long,
        env = "SCIHCGRL_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin_or_any
    )]
    pub cors_origin: Vec<String>,
    /// The origin under which browsers reach the service, such as https://photos.example. Needed if
    /// a proxy changes the Host header, or if there are no keys and the name has a dot.
    #[arg(long, env = "SCIHCGRL_PUBLIC_URL", value_name = "ORIGIN", value_parser = origin)]
    pub public_url: Option<String>,
    /// Prefix addresses in answers with this path, such as /photos. Requests may have it or not.
    #[arg(long, env = "SCIHCGRL_BASE_PATH", value_name = "PATH", default_value = "", hide_default_value = true, value_parser = base_path)]
    pub base_path: Arc<str>,
    /// Take the base path of each request from its X-Forwarded-Prefix header. Only safe behind a
    /// proxy that always sets that header.
    #[arg(long, env = "SCIHCGRL_TRUST_FORWARDED_PREFIX")]
    pub trust_forwarded_prefix: bool,
    #[command(flatten)]
    pub gallery: GalleryPaths,
    #[command(flatten)]
    pub nats: Nats,
    /// The checkpoint that a new data folder starts with. An existing data folder keeps its active
    /// model, and adds this one to its models if the file exists.
    #[arg(long, env = "SCIHCGRL_MODEL", default_value = DEFAULT_MODEL)]
    pub model: PathBuf,
    #[command(flatten)]
    pub compute: Compute,
    /// Maximum number of images in one forward pass.
    #[arg(long, env = "SCIHCGRL_MAX_BATCH", default_value_t = 32)]
    pub max_batch: usize,
    /// Time in microseconds that a batch that is not full waits for more images under load.
    #[arg(long, env = "SCIHCGRL_MAX_BATCH_DELAY_US", default_value_t = 0)]
    pub max_batch_delay_us: u64,
    /// Maximum number of images between their acceptance and their codes. Requests for
    /// further images get 429.
    #[arg(long, env = "SCIHCGRL_QUEUE", default_value_t = 256)]
    pub queue: usize,
    /// Maximum wait of an image for encoding, in milliseconds. After that, its request gets 503.
    #[arg(long, env = "SCIHCGRL_DEADLINE_MS", default_value_t = 10_000)]
    pub deadline_ms: u64,
    /// Time in seconds that accepted requests may take after the signal to stop.
    #[arg(long, env = "SCIHCGRL_DRAIN_SECONDS", default_value_t = 25)]
    pub drain_seconds: u64,
    /// Maximum number of bytes of a request's body, and of each image in `POST /images/batch`.
    #[arg(long, env = "SCIHCGRL_MAX_BODY_BYTES", default_value_t = 20 << 20)]
    pub max_body_bytes: usize,
    /// Maximum number of open connections, not counting a few that are kept for probes. By default
    /// half of the files that the process may open, at most 10000.
    #[arg(long, env = "SCIHCGRL_CONNECTIONS", value_name = "N")]
    pub connections: Option<usize>,
    /// Memory in bytes that the bodies of all requests may take together. A body that does not fit
    /// is answered 429. Answers may take half as much in addition, and pictures being decoded as
    /// much again. By default an eighth of the memory of the machine or container, at most 768 MiB.
    /// At least four times --max-body-bytes.
    #[arg(long, env = "SCIHCGRL_MEMORY", value_name = "BYTES")]
    pub memory: Option<u64>,
    /// Time in seconds that a request's body may take to arrive. For `POST /images/batch`, the
    /// limit applies to each part of the body.
    #[arg(long, env = "SCIHCGRL_BODY_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub body_seconds: u64,
    /// Where snapshots are kept: a folder, or a URL as for `--originals`. By default `snapshots` in
    /// the data folder, where they do not serve as a backup.
    #[arg(long, env = "SCIHCGRL_SNAPSHOTS", value_name = "FOLDER|URL")]
    pub snapshots: Option<String>,
    /// Number of threads of a training job. They have a lower priority than requests. By default
    /// one per core.
    #[arg(long, env = "SCIHCGRL_JOB_THREADS", value_name = "N")]
    pub job_threads: Option<usize>,
    /// Share of a GPU's memory that a job may take, 0.01 to 1. A job that needs more fails without
    /// affecting the service.
    #[arg(long, env = "SCIHCGRL_JOB_GPU_MEMORY", value_name = "SHARE", default_value_t = 0.7, value_parser = gpu_memory)]
    pub job_gpu_memory: f64,
    /// Where sketches are kept: in memory, or only on disk, which makes searches slower. By default
    /// in memory, if they take at most half of the memory that is free at the start.
    #[arg(long, env = "SCIHCGRL_SKETCHES", value_name = "memory|disk")]
    pub sketches: Option<SketchStorage>,
    /// Memory in bytes for the store's cache.
    #[arg(long, env = "SCIHCGRL_CACHE_BYTES", default_value_t = 256 << 20)]
    pub cache_bytes: u64,
    /// The format of log lines.
    #[arg(long, env = "SCIHCGRL_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

fn origin_or_any(text: &str) -> Result<String, String> {
    match text {
        "*" => Ok(text.to_owned()),
        _ => origin(text),
    }
}

/// Parses an origin and returns it as browsers send it.
fn origin(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.path() == "/");
    let origin = url.map(|url| (url.origin().ascii_serialization(), url));
    // The URL may have no other part.
    let is_origin = |(origin, url): &(String, Url)| url.as_str() == format!("{origin}/");
    let origin = origin.filter(is_origin).map(|(origin, _)| origin);
    origin
        .ok_or_else(|| "it must be http:// or https:// and a host, and may have a port".to_owned())
}

/// Parses a base path: removes a slash at its end, so that the root is empty.
///
/// # Errors
/// A message with the allowed form.
pub fn base_path(text: &str) -> Result<Arc<str>, String> {
    const MAX_BYTES: usize = 256;
    let path = text.trim_end_matches('/');
    let is_plain = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
        !part.is_empty() && part.chars().all(plain) && ![".", ".."].contains(&part)
    };
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    let is_path = parts.is_some_and(|mut parts| parts.all(is_plain)) && path.len() <= MAX_BYTES;
    if path.is_empty() || is_path {
        Ok(path.into())
    } else {
        Err("give a path such as /photos, of letters, digits and . _ ~ -".to_owned())
    }
}

fn gpu_memory(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.01..=1.0).contains(share));
    share.ok_or_else(|| "it must be 0.01 to 1".to_owned())
}

/// Options of a gallery that several services share.
#[derive(Args, Clone, Debug)]
pub struct Nats {
    /// Servers of NATS with JetStream, such as nats://host:4222, separated by commas. Makes the
    /// service a replica: all writes of the gallery go through a log on these servers. Needs
    /// `--originals` in a place that all replicas share.
    #[arg(
        long,
        env = "SCIHCGRL_NATS",
        value_name = "URLS",
        hide_env_values = true
    )]
    pub nats: Option<String>,
    /// A file with NATS credentials, if the servers require them.
    #[arg(long, env = "SCIHCGRL_NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,
    /// The gallery's name on the servers, of letters, digits, _ and -.
    #[arg(long, env = "SCIHCGRL_NATS_GALLERY", default_value = "gallery", value_parser = gallery_name)]
    pub nats_gallery: String,
    /// The number of servers that keep the log: 1, 3 or 5. The log survives the loss of fewer than
    /// half of them. Only the first replica of a gallery uses this option.
    #[arg(long, env = "SCIHCGRL_NATS_REPLICAS", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nats_replicas: u8,
    /// After each snapshot, delete the part of the log that the previous snapshot contains. New
    /// replicas must then have the same `--snapshots`.
    #[arg(long, env = "SCIHCGRL_NATS_TRIM", requires = "snapshots")]
    pub nats_trim: bool,
    /// Run no jobs; `scihcgrl worker` and replicas without this flag run them.
    #[arg(long, env = "SCIHCGRL_NO_JOBS", requires = "nats")]
    pub no_jobs: bool,
}

fn gallery_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !text.is_empty() && text.len() <= 100 && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("it must be 1 to 100 letters, digits, _ and -".to_owned())
}

/// Options of the places where a gallery is kept.
#[derive(Args, Clone, Debug)]
pub struct GalleryPaths {
    /// The data folder, with records and codes.
    #[arg(long, env = "SCIHCGRL_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Where originals are kept: a folder, or s3://bucket/path, gs://bucket/path or
    /// az://container/path, with credentials and region in the variables of the cloud's own tools,
    /// such as AWS_ACCESS_KEY_ID. By default `originals` in the data folder.
    #[arg(long, env = "SCIHCGRL_ORIGINALS", value_name = "FOLDER|URL")]
    pub originals: Option<String>,
}

impl GalleryPaths {
    /// Returns where originals are kept.
    pub fn originals(&self) -> String {
        let default = || self.data_dir.join("originals").display().to_string();
        self.originals.clone().unwrap_or_else(default)
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_a_plain_path() {
        for (text, base) in [("", ""), ("/", ""), ("/a", "/a"), ("/a/b-c/", "/a/b-c")] {
            assert_eq!(&*base_path(text).unwrap(), base);
        }
        for text in [
            "a", "//a", "/a//b", "/a b", "/..", "/a/./b", "/a?b", "/\u{e9}",
        ] {
            assert!(base_path(text).is_err(), "{text}");
        }
        assert!(base_path(&format!("/{}", "a".repeat(256))).is_err());
    }
}
