//! Every option of the program, defined once: a flag and the environment variable `SCIHCGRL_…` of the same name.
//! Plain data; a module receives only its own section and nothing here acts.

mod file;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use url::Url;

use crate::index::SketchStorage;

pub use file::{FileError, defaults_from};
pub use scihcgrl_model::options::{Compute, Precision, Train};

/// The checkpoint that comes with the project.
pub const DEFAULT_MODEL: &str = "models/photos.safetensors";

/// How the service is run.
///
/// Keys come from `--keys-file` and from the variables `SCIHCGRL_READ_KEYS`, `SCIHCGRL_WRITE_KEYS` and `SCIHCGRL_ADMIN_KEYS`, each one key
/// or two with a comma between; there are no flags for them, for flags are seen by every user of a machine.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Where to listen. Anything but loopback needs keys, or `--insecure-no-auth`.
    #[arg(long, env = "SCIHCGRL_ADDR", default_value = "127.0.0.1:8080")]
    pub addr: SocketAddr,
    /// Listen on other addresses than loopback without keys although whoever reaches them may read and write.
    #[arg(long, env = "SCIHCGRL_INSECURE_NO_AUTH")]
    pub insecure_no_auth: bool,
    /// A TOML file with the keys of each role: `read`, `write` and `admin`, each a list of one or two.
    #[arg(long, env = "SCIHCGRL_KEYS_FILE", value_name = "FILE")]
    pub keys_file: Option<PathBuf>,
    /// How many requests a second each key is good for; as many as one likes by default.
    #[arg(long, env = "SCIHCGRL_REQUESTS_PER_SECOND", value_name = "N")]
    pub requests_per_second: Option<NonZeroU32>,
    /// Origins whose pages may use the service from a browser, such as https://shop.example; `*` is any. May be repeated.
    #[arg(
        long,
        env = "SCIHCGRL_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin_or_any
    )]
    pub cors_origin: Vec<String>,
    /// The origin under which browsers reach the service, such as https://photos.example, if a proxy before it changes the Host header or no
    /// keys are set.
    #[arg(long, env = "SCIHCGRL_PUBLIC_URL", value_name = "ORIGIN", value_parser = origin)]
    pub public_url: Option<String>,
    /// Prefix addresses in answers with this path, such as /photos, and accept requests with or without it.
    #[arg(long, env = "SCIHCGRL_BASE_PATH", value_name = "PATH", default_value = "", hide_default_value = true, value_parser = base_path)]
    pub base_path: Arc<str>,
    /// Take the base path of each request from its X-Forwarded-Prefix. Only for a proxy that sets that header itself.
    #[arg(long, env = "SCIHCGRL_TRUST_FORWARDED_PREFIX")]
    pub trust_forwarded_prefix: bool,
    /// Where the gallery is kept.
    #[command(flatten)]
    pub gallery: GalleryPaths,
    /// Whether it is one of several, and of which.
    #[command(flatten)]
    pub nats: Nats,
    /// The checkpoint that a new data folder begins with. One that is there goes on with its active model, and has this one
    /// among its models if its file is there.
    #[arg(long, env = "SCIHCGRL_MODEL", default_value = DEFAULT_MODEL)]
    pub model: PathBuf,
    /// Where the model computes.
    #[command(flatten)]
    pub compute: Compute,
    /// The most images of one forward pass.
    #[arg(long, env = "SCIHCGRL_MAX_BATCH", default_value_t = 32)]
    pub max_batch: usize,
    /// Under load, for how many microseconds a batch that is not full waits for more.
    #[arg(long, env = "SCIHCGRL_MAX_BATCH_DELAY_US", default_value_t = 0)]
    pub max_batch_delay_us: u64,
    /// The most images between their acceptance and their codes; one more is answered 429.
    #[arg(long, env = "SCIHCGRL_QUEUE", default_value_t = 256)]
    pub queue: usize,
    /// How long an image may wait for its turn, in milliseconds, before it is answered 503 instead of being encoded.
    #[arg(long, env = "SCIHCGRL_DEADLINE_MS", default_value_t = 10_000)]
    pub deadline_ms: u64,
    /// For how many seconds, once told to stop, what was accepted may go on.
    #[arg(long, env = "SCIHCGRL_DRAIN_SECONDS", default_value_t = 25)]
    pub drain_seconds: u64,
    /// The most bytes of a request's body, and of each image in `POST /images/batch`.
    #[arg(long, env = "SCIHCGRL_MAX_BODY_BYTES", default_value_t = 20 << 20)]
    pub max_body_bytes: usize,
    /// The most connections at once, beside a few that are kept for probes. By default as many as half of the files that the process may open,
    /// up to 10000.
    #[arg(long, env = "SCIHCGRL_CONNECTIONS", value_name = "N")]
    pub connections: Option<usize>,
    /// Bytes of memory that the bodies of requests may hold together while they come and are worked on; one that does not fit is answered 429.
    /// Answers may hold half as much besides, and pictures that are decoded as much again. By default 768 MiB, or an eighth of the memory there is
    /// if that is less; four bodies have to fit.
    #[arg(long, env = "SCIHCGRL_MEMORY", value_name = "BYTES")]
    pub memory: Option<u64>,
    /// How many seconds a request's body may take to come, but for `POST /images/batch`, which is read as long as it comes.
    #[arg(long, env = "SCIHCGRL_BODY_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub body_seconds: u64,
    /// Where snapshots are kept: a folder, or a URL as of originals. By default in `snapshots` under the data folder, which is no backup of it.
    #[arg(long, env = "SCIHCGRL_SNAPSHOTS", value_name = "FOLDER|URL")]
    pub snapshots: Option<String>,
    /// Threads of a job that trains, which everything that answers goes before; as many as there are cores by default.
    #[arg(long, env = "SCIHCGRL_JOB_THREADS", value_name = "N")]
    pub job_threads: Option<usize>,
    /// The share of a GPU's memory that a job may take, 0.01 to 1; one that needs more fails, and the service keeps what it has.
    #[arg(long, env = "SCIHCGRL_JOB_GPU_MEMORY", value_name = "SHARE", default_value_t = 0.7, value_parser = gpu_memory)]
    pub job_gpu_memory: f64,
    /// Where the sketches of images are kept: in memory, or on disk alone, which takes each search longer. By default in memory if they take no
    /// more than half of what is free when the service starts.
    #[arg(long, env = "SCIHCGRL_SKETCHES", value_name = "memory|disk")]
    pub sketches: Option<SketchStorage>,
    /// Bytes of memory for the store's cache.
    #[arg(long, env = "SCIHCGRL_CACHE_BYTES", default_value_t = 256 << 20)]
    pub cache_bytes: u64,
    /// How log lines are written.
    #[arg(long, env = "SCIHCGRL_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

fn origin_or_any(text: &str) -> Result<String, String> {
    match text {
        "*" => Ok(text.to_owned()),
        _ => origin(text),
    }
}

/// An origin as browsers send it.
fn origin(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok();
    let url = url.filter(|url| ["http", "https"].contains(&url.scheme()) && url.path() == "/");
    let origin = url.map(|url| (url.origin().ascii_serialization(), url));
    // Nothing else may stand in it.
    let whole = |(origin, url): &(String, Url)| url.as_str() == format!("{origin}/");
    let origin = origin.filter(whole).map(|(origin, _)| origin);
    origin.ok_or_else(|| "it must be http:// or https://, a host and at most a port".to_owned())
}

/// A path as a base: without a slash at its end, and empty for the root.
///
/// # Errors
/// What would be right.
pub fn base_path(text: &str) -> Result<Arc<str>, String> {
    const MOST: usize = 256;
    let path = text.trim_end_matches('/');
    let is_plain = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._~-".contains(c);
        !part.is_empty() && part.chars().all(plain) && ![".", ".."].contains(&part)
    };
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    let is_path = parts.is_some_and(|mut parts| parts.all(is_plain)) && path.len() <= MOST;
    match path.is_empty() || is_path {
        true => Ok(path.into()),
        false => Err("give a path such as /photos, of letters, digits and . _ ~ -".to_owned()),
    }
}

fn gpu_memory(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.01..=1.0).contains(share));
    share.ok_or_else(|| "it must be 0.01 to 1".to_owned())
}

/// A gallery that several services share.
#[derive(Args, Clone, Debug)]
pub struct Nats {
    /// Servers of NATS with JetStream, such as nats://host:4222, with commas between: the service is then a replica of a gallery whose writes
    /// go through a log there, and `--originals` is a place that all replicas share.
    #[arg(
        long,
        env = "SCIHCGRL_NATS",
        value_name = "URLS",
        hide_env_values = true
    )]
    pub nats: Option<String>,
    /// A file of NATS credentials, where the servers ask for them.
    #[arg(long, env = "SCIHCGRL_NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,
    /// The gallery's name among others on the servers: letters, digits, _ and -.
    #[arg(long, env = "SCIHCGRL_NATS_GALLERY", default_value = "gallery", value_parser = gallery_name)]
    pub nats_gallery: String,
    /// How many servers keep the log, 1, 3 or 5: it outlives the loss of fewer than half of them. Only the first replica's counts.
    #[arg(long, env = "SCIHCGRL_NATS_REPLICAS", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub nats_replicas: u8,
    /// With each snapshot, let go of the log that the one before it has. Only where new replicas find `--snapshots` too.
    #[arg(long, env = "SCIHCGRL_NATS_TRIM", requires = "snapshots")]
    pub nats_trim: bool,
    /// Leave jobs to `scihcgrl worker` and to replicas without this.
    #[arg(long, env = "SCIHCGRL_NO_JOBS", requires = "nats")]
    pub no_jobs: bool,
}

fn gallery_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !text.is_empty() && text.len() <= 100 && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("a name has 1 to 100 letters, digits, _ and -".to_owned())
}

/// Where a gallery is kept.
#[derive(Args, Clone, Debug)]
pub struct GalleryPaths {
    /// Where records and codes are kept.
    #[arg(long, env = "SCIHCGRL_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Where the images themselves are kept: a folder, or s3://bucket/path, gs://bucket/path or az://container/path with keys and region
    /// in the variables that the clouds' own tools read, such as AWS_ACCESS_KEY_ID. By default in `originals` under the data folder.
    #[arg(long, env = "SCIHCGRL_ORIGINALS", value_name = "FOLDER|URL")]
    pub originals: Option<String>,
}

impl GalleryPaths {
    /// Where the images themselves are kept.
    pub fn originals(&self) -> String {
        let beside = || self.data_dir.join("originals").display().to_string();
        self.originals.clone().unwrap_or_else(beside)
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
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
