//! Every option of training: of the policy, the objective, the optimiser, its schedule and the data.
//! Plain data, each value a flag and a key of a TOML file; the checks of what goes together are `train`'s.

use std::{fmt, path::PathBuf};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use scihcgrl_image::Input;
use scihcgrl_image::Resize;
use scihcgrl_index::code::Length;

/// Which backbone a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum BackboneKind {
    /// EfficientNet-Lite0: 1280-entry features, 3.4 million weights.
    EfficientnetLite0,
    /// VGG-19 up to fc7, the paper's: 4096-entry features, 139.6 million weights.
    Vgg19,
}

/// What a policy is built of.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Entries of the policy's hidden state.
    #[arg(long, env = "SCIHCGRL_HIDDEN", default_value_t = 256)]
    pub hidden: i64,
    /// What makes one bit after the other.
    #[arg(long, env = "SCIHCGRL_CELL", default_value = "recurrent")]
    #[serde(default)]
    pub cell: Cell,
    /// Passes over the same image, T: each starts from the history of the one before, and the last one's bits are the code.
    #[arg(long, env = "SCIHCGRL_PASSES", default_value_t = 1)]
    #[serde(default = "one")]
    pub passes: usize,
    /// What the first pass's history, hv, is.
    #[arg(long, env = "SCIHCGRL_HISTORY", default_value = "zeros")]
    #[serde(default)]
    pub history: History,
    /// How many classes the classifier has by which, beside the feature, the environment says what is wanted of each bit; none if there is
    /// no environment. `train --unlabelled` sets it.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<i64>,
}

fn one() -> usize {
    1
}

/// What makes the bits of a code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// The paper's recurrent cell, Eq 6 and 7.
    #[default]
    Recurrent,
    /// The same, which also takes the bit before.
    Feedback,
    /// No recurrence: a hidden layer and an output for each bit, as CSQ has it.
    Independent,
    /// One linear layer on the feature.
    Linear,
}

/// A policy's history before its first pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Zeros, as Algorithm 2 has it.
    #[default]
    Zeros,
    /// The projected feature, as in DRLIH.
    Feature,
}

/// What a sampled action set's reward is credited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credit {
    /// The whole set shares one reward, as the paper has it.
    Set,
    /// Each bit gets its own share: −d_H/K is a sum over bits, so this is exact and of less variance.
    Bit,
}

/// How hash centres are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Centers {
    /// Rows of a Hadamard matrix of the code's own length, chosen for distinct, balanced columns.
    Hadamard,
    /// The paper's Algorithm 1 to the letter: random halves at 24 and 48 bits, Sylvester's first rows at 32.
    Algorithm1,
}

/// What moves the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with momentum 0.9, as in the paper.
    Sgd,
}

/// How rates fall over a run, after a short rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine, down to nothing.
    Cosine,
    /// By `step_factor` every `step_epochs` epochs (Algorithm 2).
    Step,
    /// Not at all.
    Constant,
}

/// How a model is trained.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Train {
    /// The backbone.
    #[arg(
        long,
        env = "SCIHCGRL_ARCHITECTURE",
        default_value = "efficientnet_lite0"
    )]
    pub architecture: BackboneKind,
    /// What the policies are built of.
    #[command(flatten)]
    pub policy: Policy,
    /// Epochs of joint training; 0 leaves the backbone as it is.
    #[arg(long, env = "SCIHCGRL_EPOCHS", default_value_t = 12)]
    pub epochs: usize,
    /// Epochs before that in which only the policies learn, on frozen features.
    #[arg(long, env = "SCIHCGRL_WARM_UP_EPOCHS", default_value_t = 8)]
    pub warm_up_epochs: usize,
    /// Images a step.
    #[arg(long, env = "SCIHCGRL_BATCH_SIZE", default_value_t = 64)]
    pub batch_size: usize,
    /// What moves the weights.
    #[arg(long, env = "SCIHCGRL_OPTIMIZER", default_value = "adamw")]
    pub optimizer: Optimizer,
    /// Highest rate of the backbone.
    #[arg(long, env = "SCIHCGRL_BACKBONE_RATE", default_value_t = 3e-4)]
    pub backbone_rate: f64,
    /// Highest rate of the policies in joint training; in warm-up it is twice that.
    #[arg(long, env = "SCIHCGRL_POLICY_RATE", default_value_t = 5e-4)]
    pub policy_rate: f64,
    /// How rates fall.
    #[arg(long, env = "SCIHCGRL_SCHEDULE", default_value = "cosine")]
    pub schedule: Schedule,
    /// With `--schedule step`: the epochs between two falls.
    #[arg(long, env = "SCIHCGRL_STEP_EPOCHS", default_value_t = 10)]
    pub step_epochs: usize,
    /// With `--schedule step`: what a rate is multiplied by.
    #[arg(long, env = "SCIHCGRL_STEP_FACTOR", default_value_t = 0.7)]
    pub step_factor: f64,
    /// Weight decay; decoupled with adamw.
    #[arg(long, env = "SCIHCGRL_WEIGHT_DECAY", default_value_t = 0.01)]
    pub weight_decay: f64,
    /// The share of the old in a moving average of the weights, which is what is saved; 0 saves the weights themselves.
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
    /// Softens R_g's targets: 0 takes the centre's bits as they are, 0.1 takes 0.05 and 0.95 for 0 and 1.
    #[arg(long, env = "SCIHCGRL_SMOOTHING", default_value_t = 0.0)]
    pub smoothing: f64,
    /// The share of features' entries left out at random while training.
    #[arg(long, env = "SCIHCGRL_DROPOUT", default_value_t = 0.0)]
    pub dropout: f64,
    /// How much training pictures are changed at random (cut, turned, mirrored, coloured, blotted), 0 to 1.
    #[arg(long, env = "SCIHCGRL_AUGMENT", default_value_t = 0.5)]
    pub augment: f64,
    /// The share of batches in which a rectangle of each picture is another picture's, and its target as much of that one's.
    #[arg(long, env = "SCIHCGRL_MIX", default_value_t = 0.0)]
    pub mix: f64,
    /// What a sampled action set's reward is credited to.
    #[arg(long, env = "SCIHCGRL_CREDIT", default_value = "bit")]
    pub credit: Credit,
    /// How hash centres are made.
    #[arg(long, env = "SCIHCGRL_CENTERS", default_value = "hadamard")]
    pub centers: Centers,
    /// Side of the square input, pixels.
    #[arg(long, env = "SCIHCGRL_INPUT_SIZE", default_value_t = 96)]
    pub input_size: u32,
    /// How a picture becomes that square: stretch takes all of it, crop the middle.
    #[arg(long, env = "SCIHCGRL_RESIZE", default_value_t)]
    pub resize: Resize,
    /// Code lengths.
    #[arg(long, env = "SCIHCGRL_LENGTHS", value_delimiter = ',', default_values_t = Length::ALL)]
    pub lengths: Vec<Length>,
    /// Share of the images of each class kept from training, to watch it by.
    #[arg(long, env = "SCIHCGRL_VALIDATION_FRACTION", default_value_t = 0.02)]
    pub validation_fraction: f64,
    /// Stop after so many joint epochs without a better validation, keeping the best weights; 0 never stops.
    #[arg(long, env = "SCIHCGRL_PATIENCE", default_value_t = 0)]
    pub patience: usize,
    /// Stop once the smoothed loss is below this (0.001 in Algorithm 2); 0 never stops.
    #[arg(long, env = "SCIHCGRL_STOP_LOSS", default_value_t = 0.0)]
    pub stop_loss: f64,
    /// At most so many training images a class.
    #[arg(long, env = "SCIHCGRL_PER_CLASS")]
    pub per_class: Option<usize>,
    /// Seed of everything random.
    #[arg(long, env = "SCIHCGRL_SEED", default_value_t = 0)]
    pub seed: u64,
    /// Weights of the backbone to start from (safetensors, published names), or a trained model whose backbone is; random without.
    #[arg(long, env = "SCIHCGRL_BACKBONE")]
    pub backbone: Option<PathBuf>,
    /// Instead: a trained model to go on from, of the same backbone, policies and lengths. Its classes keep their hash centres, and classes
    /// that it does not know get new ones.
    #[arg(long, env = "SCIHCGRL_START", conflicts_with = "backbone")]
    pub start: Option<PathBuf>,
    /// A trained model whose answers are learned, whatever the images are labelled: the action values of each picture as it is and
    /// mirrored. No images are then kept for validation.
    #[arg(long, env = "SCIHCGRL_TEACHER")]
    pub teacher: Option<PathBuf>,
    /// Where it computes.
    #[command(flatten)]
    pub compute: Compute,
}

impl Train {
    /// What the network reads.
    pub fn input(&self) -> Input {
        Input {
            side: self.input_size,
            resize: self.resize,
        }
    }

    /// The options as a command line without a program's name gives them, all others at their defaults; of two that are the same
    /// the later holds.
    ///
    /// # Errors
    /// What clap says of them.
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

/// Where a model computes and in which type.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Compute {
    /// auto, cpu, cuda or cuda:N; a service takes several with commas between, and has a copy of the model and a worker on each.
    #[arg(long, env = "SCIHCGRL_DEVICE", default_value = "auto")]
    pub device: String,
    /// The type that convolutions compute in: auto, fp32 or bf16. A service's auto is what the codes of its data folder were made in, and
    /// for a new one bf16 where the device has instructions for it; elsewhere auto is fp32.
    #[arg(long, env = "SCIHCGRL_PRECISION", default_value = "auto")]
    pub precision: Precision,
    /// Threads of libtorch; as many as there are cores by default, and one beside a GPU. A service on a CPU has a worker of one thread on every
    /// core instead.
    #[arg(long, env = "SCIHCGRL_THREADS")]
    pub threads: Option<usize>,
}

/// A floating-point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// What suits.
    Auto,
    /// IEEE single precision.
    Fp32,
    /// bfloat16: faster on processors and GPUs made for it.
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
