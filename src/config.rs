//! Every option of the program, defined once: a flag and the environment variable `SCIHCGRL_…` of the same name.
//! Plain data; a module receives only its own section and nothing here acts.

mod file;
mod train;

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

pub use file::{FileError, defaults_from};
pub use train::{
    BackboneKind, Cell, Centers, Credit, History, Method, Optimizer, Policy, Schedule, Train,
};

/// The checkpoint that comes with the project.
pub const DEFAULT_MODEL: &str = "models/cifar10.safetensors";

/// Where a model computes and in which type.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Compute {
    /// auto, cpu, cuda or cuda:N.
    #[arg(long, env = "SCIHCGRL_DEVICE", default_value = "auto")]
    pub device: String,
    /// The type that convolutions compute in.
    #[arg(long, env = "SCIHCGRL_PRECISION", default_value = "fp32")]
    pub precision: Precision,
    /// Threads of libtorch; as many as there are cores by default.
    #[arg(long, env = "SCIHCGRL_THREADS")]
    pub threads: Option<usize>,
}

/// How the service is run.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Where to listen. Anything but loopback needs `--insecure-no-auth`, for there are no keys yet.
    #[arg(long, env = "SCIHCGRL_ADDR", default_value = "127.0.0.1:8080")]
    pub addr: SocketAddr,
    /// Listen on other addresses than loopback although whoever reaches them may read and write.
    #[arg(long, env = "SCIHCGRL_INSECURE_NO_AUTH")]
    pub insecure_no_auth: bool,
    /// Where images and codes are kept.
    #[arg(long, env = "SCIHCGRL_DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// The checkpoint.
    #[arg(long, env = "SCIHCGRL_MODEL", default_value = DEFAULT_MODEL)]
    pub model: PathBuf,
    /// Where the model computes.
    #[command(flatten)]
    pub compute: Compute,
    /// The most images of one forward pass.
    #[arg(long, env = "SCIHCGRL_MAX_BATCH", default_value_t = 32)]
    pub max_batch: usize,
    /// The most images that may wait for the model; one more is answered 429.
    #[arg(long, env = "SCIHCGRL_QUEUE", default_value_t = 512)]
    pub queue: usize,
    /// The most bytes of a request's body.
    #[arg(long, env = "SCIHCGRL_MAX_BODY_BYTES", default_value_t = 20 << 20)]
    pub max_body_bytes: usize,
    /// Bytes of memory for the store's cache.
    #[arg(long, env = "SCIHCGRL_CACHE_BYTES", default_value_t = 256 << 20)]
    pub cache_bytes: u64,
}

/// A floating-point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// IEEE single precision.
    Fp32,
    /// bfloat16: faster on processors and GPUs made for it.
    Bf16,
}
