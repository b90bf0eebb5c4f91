//! Training: hash centres, a warm-up of the policies on frozen features, then both networks together by back-propagation.
//! Owns the step of the optimiser; knows nothing of the index or the service, and evaluates only what it is watched by.

pub mod data;
mod joint;
pub mod reinforce;
pub mod reward;
pub mod rollout;
pub mod schedule;
mod warm_up;
mod watch;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor, nn, nn::OptimizerConfig};

use crate::{
    config::{Precision, Train},
    model::{Card, ModelError, Network, Pass, backbone::BackboneKind, centers, checkpoint},
};
use data::{augment::Augment, pictures::Pictures};
use reinforce::Objective;
pub use watch::Progress;

/// Images a forward pass when only features are wanted.
const FEATURE_BATCH: usize = 256;
/// Steps over which a rate rises, at most a fifth of all.
const RISE: usize = 200;
/// How much of [`Augment::new`] training pictures get.
const AUGMENT: f64 = 0.5;

/// What stops a training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model or libtorch.
    #[error(transparent)]
    Model {
        /// Why.
        #[from]
        source: ModelError,
    },
    /// The data set is not what it should be.
    #[error("{} is not a data set: {reason}", path.display())]
    Data {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The loss is no longer a number.
    #[error("the loss became {loss} at step {step}; a lower learning rate may help")]
    Diverged {
        /// The loss.
        loss: f64,
        /// The step it was met at, from 0.
        step: usize,
    },
    /// An option out of its range.
    #[error("{option} is {found}; it must be {expected}")]
    Option {
        /// Which.
        option: &'static str,
        /// What it was.
        found: String,
        /// What is right.
        expected: &'static str,
    },
}

/// Trains a model on a folder of class folders and writes it to `out`, anew after every joint epoch.
///
/// # Errors
/// [`TrainError`], by its variants. A file already at `out` is replaced only by a whole one.
pub fn train(
    data: &Path,
    out: &Path,
    config: &Train,
    tell: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    check(config)?;
    let started = Instant::now();
    let device = crate::model::device(&config.compute.device)?;
    if let Some(threads) = config.compute.threads {
        tch::set_num_threads(threads as i32);
    }
    let collection = data::open(data)?;
    let (side, per_class) = (config.input_size, config.per_class);
    let pictures = Pictures::read(&collection, None, side, per_class, config.seed)?;
    for (name, reason) in &pictures.skipped {
        tracing::warn!(name, reason, "skipped an image that cannot be read");
    }
    tch::manual_seed(config.seed as i64);
    let mut lengths = config.lengths.clone();
    lengths.sort();
    lengths.dedup();
    let mut centres = BTreeMap::new();
    for &length in &lengths {
        centres.insert(
            length,
            centers::make(config.centers, length, pictures.classes.len(), config.seed)?,
        );
    }
    let mut card = Card {
        backbone: BackboneKind::EfficientnetLite0,
        hidden: config.hidden,
        lengths,
        input_size: config.input_size,
        // EfficientNet-Lite was trained on (x − 127) / 128.
        mean: [127.0 / 255.0; 3],
        deviation: [128.0 / 255.0; 3],
        classes: pictures.classes.clone(),
        centers: centres,
        training: serde_json::Value::Null,
        quality: serde_json::Value::Null,
    };
    let mut network = Network::new(&card, device)?;
    if let Some(path) = &config.backbone {
        checkpoint::load_backbone(&mut network, path)?;
    }
    let mut run = Run::new(&pictures, &card, config, device)?;
    run.warm_up(&mut network, tell)?;
    run.joint(&network, tell, &mut |epoch, validation| {
        card.training = serde_json::json!({
            "images": run_images(&pictures, config), "epochs_done": epoch, "options": config,
            "seconds": started.elapsed().as_secs(), "validation_accuracy": validation,
            "skipped_files": pictures.skipped.len(),
        });
        checkpoint::save(&network, &card, out)
    })?;
    Ok(card)
}

fn run_images(pictures: &Pictures, config: &Train) -> usize {
    pictures
        .split(config.validation_fraction, config.seed)
        .0
        .len()
}

fn check(config: &Train) -> Result<(), TrainError> {
    let refuse = |option, found: String, expected| {
        Err(TrainError::Option {
            option,
            found,
            expected,
        })
    };
    if !(32..=1024).contains(&config.input_size) {
        return refuse("input size", config.input_size.to_string(), "32 to 1024");
    }
    if config.batch_size < 2 {
        return refuse("batch size", config.batch_size.to_string(), "at least 2");
    }
    if !(0.0..=1.0).contains(&config.smoothing) {
        return refuse("smoothing", config.smoothing.to_string(), "0 to 1");
    }
    if config.epochs == 0 {
        return refuse("epochs", "0".to_owned(), "at least 1");
    }
    if !(8..=8192).contains(&config.hidden) {
        return refuse("hidden", config.hidden.to_string(), "8 to 8192");
    }
    if !(0.0..=0.5).contains(&config.validation_fraction) {
        return refuse(
            "validation fraction",
            config.validation_fraction.to_string(),
            "0 to 0.5",
        );
    }
    Ok(())
}

/// What both stages of a training share.
struct Run<'a> {
    pictures: &'a Pictures,
    config: &'a Train,
    device: Device,
    objective: Objective,
    centers: Tensor, // [heads, classes, bits]
    share: Tensor,   // [heads, 1, bits]
    train: Vec<usize>,
    validation: Vec<usize>,
    rng: ChaCha8Rng,
    pass: Pass,
}

impl<'a> Run<'a> {
    fn new(
        pictures: &'a Pictures,
        card: &Card,
        config: &'a Train,
        device: Device,
    ) -> Result<Self, ModelError> {
        let bits = card
            .lengths
            .iter()
            .map(|length| length.bits())
            .max()
            .unwrap_or(0);
        let (mut centers, mut share) = (Vec::new(), Vec::new());
        for (length, codes) in &card.centers {
            for code in codes {
                let row = code.bits().iter().map(|bit| f32::from(u8::from(*bit)));
                centers.extend(row.chain(std::iter::repeat(0.0)).take(bits));
            }
            let each = 1.0 / length.bits() as f32;
            share.extend(
                std::iter::repeat_n(each, length.bits())
                    .chain(std::iter::repeat(0.0))
                    .take(bits),
            );
        }
        let (train, validation) = pictures.split(config.validation_fraction, config.seed);
        Ok(Run {
            pictures,
            config,
            device,
            objective: Objective {
                reinforce: config.reinforce_weight,
                global: config.global_weight,
                smoothing: config.smoothing,
                credit: config.credit,
            },
            centers: Tensor::f_from_slice(&centers)?
                .f_view([
                    card.lengths.len() as i64,
                    card.classes.len() as i64,
                    bits as i64,
                ])?
                .f_to_device(device)?,
            share: Tensor::f_from_slice(&share)?
                .f_view([card.lengths.len() as i64, 1, bits as i64])?
                .f_to_device(device)?,
            train,
            validation,
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            pass: Pass {
                train: false,
                kind: match config.compute.precision {
                    Precision::Fp32 => Kind::Float,
                    Precision::Bf16 => Kind::BFloat16,
                },
            },
        })
    }

    /// A batch of training pictures, changed at random.
    fn augmented(&mut self, numbers: &[usize]) -> Result<Tensor, ModelError> {
        let (side, augment) = (self.config.input_size, Augment::new(AUGMENT));
        let seed = self.rng.random();
        self.pictures
            .batch(numbers, side, Some(augment), seed, self.device)
    }

    fn optimizer(&self, network: &Network) -> Result<nn::Optimizer, ModelError> {
        let mut optimizer =
            nn::adamw(0.9, 0.999, self.config.weight_decay).build(&network.variables, 0.0)?;
        optimizer.set_weight_decay(self.config.weight_decay);
        Ok(optimizer)
    }

    /// One step of the optimiser; the loss and the reward.
    fn learn(
        &self,
        logits: &Tensor,
        numbers: &[usize],
        optimizer: &mut nn::Optimizer,
    ) -> Result<(f64, f64), ModelError> {
        let step = self
            .objective
            .step(logits, &self.centers_of(numbers)?, &self.share)?;
        let loss = f64::try_from(&step.loss)?;
        if loss.is_finite() {
            optimizer.zero_grad();
            step.loss.f_backward()?;
            optimizer.clip_grad_norm(1.0);
            optimizer.step();
        }
        Ok((loss, f64::try_from(&step.reward)?))
    }

    /// The centres of images: `[heads, batch, bits]`.
    fn centers_of(&self, numbers: &[usize]) -> Result<Tensor, ModelError> {
        let labels: Vec<i64> = numbers
            .iter()
            .map(|&number| self.pictures.labels[number] as i64)
            .collect();
        let labels = Tensor::f_from_slice(&labels)?.f_to_device(self.device)?;
        Ok(self.centers.f_index_select(1, &labels)?)
    }
}
