//! The options of training and of computing. Each is a flag and a key of a TOML file. `train`
//! checks their ranges and combinations.

use std::{
    fmt::{self, Display},
    ops::RangeInclusive,
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use scihcgrl_image::{Input, Resize};
use scihcgrl_index::code::Length;
use serde::{Deserialize, Serialize};

/// The backbone of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum BackboneKind {
    /// EfficientNet-Lite0: 1280-entry features, 3.4 million weights.
    EfficientnetLite0,
    /// The paper's VGG-19 up to fc7: 4096-entry features, 139.6 million weights.
    Vgg19,
}

/// The architecture of a policy.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Entries of the policy's hidden state.
    #[arg(long, env = "SCIHCGRL_HIDDEN", default_value_t = 256)]
    pub hidden: i64,
    /// The network that makes the bits.
    #[arg(long, env = "SCIHCGRL_CELL", default_value = "recurrent")]
    #[serde(default)]
    pub cell: Cell,
    /// Passes over the same image, T. Each starts from the history of the previous one. The bits of
    /// the last pass are the code.
    #[arg(long, env = "SCIHCGRL_PASSES", default_value_t = 1)]
    #[serde(default = "one")]
    pub passes: usize,
    /// The history of the first pass, h_v.
    #[arg(long, env = "SCIHCGRL_HISTORY", default_value = "zeros")]
    #[serde(default)]
    pub history: History,
    /// The number of classes of the classifier that, with the feature, determines the environment's
    /// reward of each bit. `None` if there is no environment. `train --unlabelled` sets it.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<i64>,
}

fn one() -> usize {
    1
}

/// The network that makes the bits of a code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// The paper's recurrent cell, Eq 6 and 7.
    #[default]
    Recurrent,
    /// The recurrent cell with the previous bit as a further input.
    Feedback,
    /// No recurrence: a hidden layer and an output for each bit, as in CSQ.
    Independent,
    /// One linear layer on the feature.
    Linear,
}

/// A policy's history before its first pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Zeros, as in Algorithm 2.
    #[default]
    Zeros,
    /// The projected feature, as in DRLIH.
    Feature,
}

/// The unit that receives the reward of a sampled action set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credit {
    /// The whole set shares one reward, as in the paper.
    Set,
    /// Each bit gets its own share. −d_H/K is a sum over bits, so this is exact and has a lower
    /// variance.
    Bit,
}

/// The method that makes hash centres.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Centers {
    /// Rows of a Hadamard matrix of the code's own length, chosen for distinct, balanced columns.
    Hadamard,
    /// The paper's Algorithm 1, literally: random halves at 24 and 48 bits, Sylvester's first rows
    /// at 32.
    Algorithm1,
}

/// The optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with momentum 0.9, as in the paper.
    Sgd,
}

/// The fall of learning rates during a training, after a short rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine, down to zero.
    Cosine,
    /// By `step_factor` every `step_epochs` epochs (Algorithm 2).
    Step,
    /// No fall.
    Constant,
}

/// The options of a training.
#[derive(Args, Clone, Debug, Serialize)]
// A command that flattens these options may have a type of the same name.
#[group(skip)]
pub struct Train {
    /// The backbone.
    #[arg(
        long,
        env = "SCIHCGRL_ARCHITECTURE",
        default_value = "efficientnet_lite0"
    )]
    pub architecture: BackboneKind,
    /// The architecture of the policies.
    #[command(flatten)]
    pub policy: Policy,
    /// Epochs of joint training. 0 does not train the backbone.
    #[arg(long, env = "SCIHCGRL_EPOCHS", default_value_t = 12)]
    pub epochs: usize,
    /// Epochs of warm-up before joint training, in which only the policies learn, on fixed
    /// features.
    #[arg(long, env = "SCIHCGRL_WARM_UP_EPOCHS", default_value_t = 8)]
    pub warm_up_epochs: usize,
    /// Images in a step.
    #[arg(long, env = "SCIHCGRL_BATCH_SIZE", default_value_t = 64)]
    pub batch_size: usize,
    /// The optimiser.
    #[arg(long, env = "SCIHCGRL_OPTIMIZER", default_value = "adamw")]
    pub optimizer: Optimizer,
    /// Highest learning rate of the backbone.
    #[arg(long, env = "SCIHCGRL_BACKBONE_RATE", default_value_t = 3e-4)]
    pub backbone_rate: f64,
    /// Highest learning rate of the policies in joint training. In warm-up it is twice as high.
    #[arg(long, env = "SCIHCGRL_POLICY_RATE", default_value_t = 5e-4)]
    pub policy_rate: f64,
    /// How learning rates fall.
    #[arg(long, env = "SCIHCGRL_SCHEDULE", default_value = "cosine")]
    pub schedule: Schedule,
    /// With `--schedule step`: the epochs between two falls.
    #[arg(long, env = "SCIHCGRL_STEP_EPOCHS", default_value_t = 10)]
    pub step_epochs: usize,
    /// With `--schedule step`: the factor of each fall.
    #[arg(long, env = "SCIHCGRL_STEP_FACTOR", default_value_t = 0.7)]
    pub step_factor: f64,
    /// Weight decay. It is decoupled with adamw.
    #[arg(long, env = "SCIHCGRL_WEIGHT_DECAY", default_value_t = 0.01)]
    pub weight_decay: f64,
    /// Save a moving average of the weights, with this share of the old average in each step. 0
    /// saves the weights themselves.
    #[arg(long, env = "SCIHCGRL_AVERAGE", default_value_t = 0.0)]
    pub average: f64,
    /// Weight of L_g, the REINFORCE term.
    #[arg(long, env = "SCIHCGRL_REINFORCE_WEIGHT", default_value_t = 0.1)]
    pub reinforce_weight: f64,
    /// Weight of R_g, the differentiable term.
    #[arg(long, env = "SCIHCGRL_GLOBAL_WEIGHT", default_value_t = 1.0)]
    pub global_weight: f64,
    /// Weight of the quantisation term, the mean of (|a| − 1)².
    #[arg(long, env = "SCIHCGRL_QUANTIZATION_WEIGHT", default_value_t = 0.0)]
    pub quantization_weight: f64,
    /// Soften the targets of R_g: 0 keeps the centre's bits 0 and 1; 0.1 replaces them by 0.05 and
    /// 0.95.
    #[arg(long, env = "SCIHCGRL_SMOOTHING", default_value_t = 0.0)]
    pub smoothing: f64,
    /// The share of feature entries dropped at random during training.
    #[arg(long, env = "SCIHCGRL_DROPOUT", default_value_t = 0.0)]
    pub dropout: f64,
    /// Strength of the random changes of training pictures (crops, rotation, mirroring, colour,
    /// erased rectangles), 0 to 1.
    #[arg(long, env = "SCIHCGRL_AUGMENT", default_value_t = 0.5)]
    pub augment: f64,
    /// The share of batches in which a rectangle of each picture comes from another picture, and
    /// its target is mixed in proportion (CutMix).
    #[arg(long, env = "SCIHCGRL_MIX", default_value_t = 0.0)]
    pub mix: f64,
    /// The unit that receives the reward of a sampled action set.
    #[arg(long, env = "SCIHCGRL_CREDIT", default_value = "bit")]
    pub credit: Credit,
    /// The method that makes hash centres.
    #[arg(long, env = "SCIHCGRL_CENTERS", default_value = "hadamard")]
    pub centers: Centers,
    /// Side of the square input, pixels.
    #[arg(long, env = "SCIHCGRL_INPUT_SIZE", default_value_t = 96)]
    pub input_size: u32,
    /// How a picture becomes that square: stretch the whole picture, or crop its middle.
    #[arg(long, env = "SCIHCGRL_RESIZE", default_value_t)]
    pub resize: Resize,
    /// Code lengths.
    #[arg(long, env = "SCIHCGRL_LENGTHS", value_delimiter = ',', default_values_t = Length::ALL)]
    pub lengths: Vec<Length>,
    /// The share of each class's images that is held back for validation.
    #[arg(long, env = "SCIHCGRL_VALIDATION_FRACTION", default_value_t = 0.02)]
    pub validation_fraction: f64,
    /// Stop after this many joint epochs without a better validation result, and keep the best
    /// weights. 0 never stops.
    #[arg(long, env = "SCIHCGRL_PATIENCE", default_value_t = 0)]
    pub patience: usize,
    /// Stop when the smoothed loss falls below this value (0.001 in Algorithm 2). 0 never stops.
    #[arg(long, env = "SCIHCGRL_STOP_LOSS", default_value_t = 0.0)]
    pub stop_loss: f64,
    /// Maximum number of training images of each class. By default all are used.
    #[arg(long, env = "SCIHCGRL_PER_CLASS")]
    pub per_class: Option<usize>,
    /// Seed of all random numbers.
    #[arg(long, env = "SCIHCGRL_SEED", default_value_t = 0)]
    pub seed: u64,
    /// Start from these weights of the backbone (safetensors, published names), or from a trained
    /// model's backbone. By default weights are random.
    #[arg(long, env = "SCIHCGRL_BACKBONE")]
    pub backbone: Option<PathBuf>,
    /// Start from a trained model with the same backbone, policies and lengths. Its classes keep
    /// their hash centres; other classes get new ones.
    #[arg(long, env = "SCIHCGRL_START", conflicts_with = "backbone")]
    pub start: Option<PathBuf>,
    /// Learn the action values of this trained model for each picture and its mirror image, instead
    /// of labels. No images are then held back for validation.
    #[arg(long, env = "SCIHCGRL_TEACHER")]
    pub teacher: Option<PathBuf>,
    /// The device and numeric type.
    #[command(flatten)]
    pub compute: Compute,
}

impl Train {
    /// Returns the size and resize mode of the network's input.
    pub fn input(&self) -> Input {
        Input {
            side: self.input_size,
            resize: self.resize,
        }
    }

    /// Parses command-line flags, without a program's name. Other options have their defaults. If a
    /// flag is repeated, the last one counts.
    ///
    /// # Errors
    /// Returns an error if a flag is unknown or a value is wrong.
    pub fn of<S: AsRef<str>>(flags: &[S]) -> Result<Self, clap::Error> {
        #[derive(clap::Parser)]
        #[command(args_override_self = true)]
        struct Options {
            #[command(flatten)]
            train: Train,
        }
        let flags = flags.iter().map(AsRef::as_ref);
        let options: Options = clap::Parser::try_parse_from(["train"].into_iter().chain(flags))?;
        Ok(options.train)
    }
}

/// The device and the numeric type of a model.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Compute {
    /// The device: auto, cpu, cuda or cuda:N. A service accepts several, separated by commas, and
    /// runs a copy of the model on each.
    #[arg(long, env = "SCIHCGRL_DEVICE", default_value = "auto")]
    pub device: String,
    /// The numeric type of convolutions: auto, fp32 or bf16. In a service, auto is the type of the
    /// codes in its data folder; for a new folder it is bf16 if the device has instructions for it.
    /// Otherwise auto is fp32.
    #[arg(long, env = "SCIHCGRL_PRECISION", default_value = "auto")]
    pub precision: Precision,
    /// Threads of libtorch. The default is one per core, or one in total with a GPU. A service on a
    /// CPU instead runs one worker per core, each with one thread.
    #[arg(long, env = "SCIHCGRL_THREADS")]
    pub threads: Option<usize>,
}

/// A floating-point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Chosen by the device and the data folder.
    Auto,
    /// IEEE single precision.
    Fp32,
    /// bfloat16: faster on processors and GPUs with instructions for it.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Auto => "auto",
            Precision::Fp32 => "fp32",
            Precision::Bf16 => "bf16",
        })
    }
}

/// An option with an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} is {found}; it must be {expected}")]
pub struct OptionError {
    /// Name of the option.
    pub option: &'static str,
    /// Its value.
    pub found: String,
    /// The valid values.
    pub expected: String,
}

/// Refuses an option unless it is valid.
///
/// # Errors
/// [`OptionError`] with the given name, value and valid values.
pub fn check_option(
    option: &'static str,
    found: impl Display,
    is_valid: bool,
    expected: impl Into<String>,
) -> Result<(), OptionError> {
    if is_valid {
        return Ok(());
    }
    Err(OptionError {
        option,
        found: found.to_string(),
        expected: expected.into(),
    })
}

/// Refuses an option outside its range.
///
/// # Errors
/// [`OptionError`], as by [`check_option`].
pub fn check_range<T: PartialOrd + Display>(
    option: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), OptionError> {
    let expected = format!("{} to {}", range.start(), range.end());
    let is_valid = range.contains(&value);
    check_option(option, value, is_valid, expected)
}
