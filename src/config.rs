//! Every option of the program, defined once: a flag and the environment variable `SCIHCGRL_…` of the same name.
//! Plain data; a module receives only its own section and nothing here acts.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::code::Length;

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

/// What a sampled action set's reward is credited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Credit {
    /// The whole set shares one reward, as the paper has it.
    Set,
    /// Each bit gets its own share: −d_H/K is a sum over bits, so this is exact and of less variance.
    Bit,
}

/// How hash centres are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Centers {
    /// Rows of a Hadamard matrix of the code's own length, chosen for distinct, balanced columns.
    Hadamard,
    /// The paper's Algorithm 1 to the letter: random halves at 24 and 48 bits, Sylvester's first rows at 32.
    Algorithm1,
}

/// How a model is trained.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Train {
    /// Epochs of joint training.
    #[arg(long, env = "SCIHCGRL_EPOCHS", default_value_t = 12)]
    pub epochs: usize,
    /// Epochs before that in which only the policies learn, on frozen features.
    #[arg(long, env = "SCIHCGRL_WARM_UP_EPOCHS", default_value_t = 8)]
    pub warm_up_epochs: usize,
    /// Images a step.
    #[arg(long, env = "SCIHCGRL_BATCH_SIZE", default_value_t = 64)]
    pub batch_size: usize,
    /// Highest rate of the backbone.
    #[arg(long, env = "SCIHCGRL_BACKBONE_RATE", default_value_t = 3e-4)]
    pub backbone_rate: f64,
    /// Highest rate of the policies in joint training; in warm-up it is twice that.
    #[arg(long, env = "SCIHCGRL_POLICY_RATE", default_value_t = 5e-4)]
    pub policy_rate: f64,
    /// Decoupled weight decay.
    #[arg(long, env = "SCIHCGRL_WEIGHT_DECAY", default_value_t = 0.01)]
    pub weight_decay: f64,
    /// Weight of L_g, the REINFORCE term.
    #[arg(long, env = "SCIHCGRL_REINFORCE_WEIGHT", default_value_t = 0.1)]
    pub reinforce_weight: f64,
    /// Weight of R_g, the differentiable term.
    #[arg(long, env = "SCIHCGRL_GLOBAL_WEIGHT", default_value_t = 1.0)]
    pub global_weight: f64,
    /// Softens R_g's targets: 0 takes the centre's bits as they are, 0.1 takes 0.05 and 0.95 for 0 and 1.
    #[arg(long, env = "SCIHCGRL_SMOOTHING", default_value_t = 0.0)]
    pub smoothing: f64,
    /// What a sampled action set's reward is credited to.
    #[arg(long, env = "SCIHCGRL_CREDIT", default_value = "bit")]
    pub credit: Credit,
    /// How hash centres are made.
    #[arg(long, env = "SCIHCGRL_CENTERS", default_value = "hadamard")]
    pub centers: Centers,
    /// Side of the square input, pixels.
    #[arg(long, env = "SCIHCGRL_INPUT_SIZE", default_value_t = 96)]
    pub input_size: u32,
    /// Entries of the policy's hidden state.
    #[arg(long, env = "SCIHCGRL_HIDDEN", default_value_t = 256)]
    pub hidden: i64,
    /// Code lengths.
    #[arg(long, env = "SCIHCGRL_LENGTHS", value_delimiter = ',', default_values_t = Length::ALL)]
    pub lengths: Vec<Length>,
    /// Share of the images of each class kept from training, to watch it by.
    #[arg(long, env = "SCIHCGRL_VALIDATION_FRACTION", default_value_t = 0.02)]
    pub validation_fraction: f64,
    /// At most so many training images a class.
    #[arg(long, env = "SCIHCGRL_PER_CLASS")]
    pub per_class: Option<usize>,
    /// Seed of everything random.
    #[arg(long, env = "SCIHCGRL_SEED", default_value_t = 0)]
    pub seed: u64,
    /// Weights of the backbone to start from (safetensors, published names); random without.
    #[arg(long, env = "SCIHCGRL_BACKBONE")]
    pub backbone: Option<PathBuf>,
    /// Where it computes.
    #[command(flatten)]
    pub compute: Compute,
}
