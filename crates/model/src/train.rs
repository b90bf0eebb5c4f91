//! Training: hash centres, a warm-up of the policies on frozen features, then both networks together by back-propagation.
//! Knows the order of a training; nothing of the index or the service, and evaluates only what it is watched by.

mod average;
mod components;
pub mod data;
pub mod encode;
mod flat;
mod given;
mod joint;
mod mix;
pub mod objective;
mod optimizer;
pub mod options;
pub mod reinforce;
pub mod resume;
pub mod reward;
pub mod rollout;
mod run;
pub mod schedule;
pub mod show;
pub mod unlabelled;
pub mod views;
mod warm_up;
mod watch;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    slice::Chunks,
    time::Instant,
};

use rand::{Rng, seq::SliceRandom};
use serde_json::json;
use tch::{Device, Tensor};

use crate::{
    model::{Card, ModelError, Network, Pass, centers, checkpoint},
    options::Train,
};
use data::{
    Collection,
    ahead::{self, Plan},
    augment::Augment,
    pictures::Pictures,
};
use joint::{Images, Pace};
use objective::Objective;
use options::check;
use resume::{Begun, Mark};
pub use run::Run;
use run::Stage;
pub use watch::Progress;

/// Images a forward pass when only features are wanted.
pub const FEATURE_BATCH: usize = 256;
/// Batches that the batch norms' statistics are first moved to the data by.
const STATISTICS_BATCHES: usize = 60;

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
    /// The loss is no longer a number, or beyond all measure.
    #[error("the loss became {loss} at step {step}; a lower learning rate may help")]
    Diverged {
        /// The loss.
        loss: f64,
        /// The step it was met at, from 0.
        step: usize,
    },
    /// Fewer pictures than a model learns from without labels.
    #[error(
        "{found} pictures can be read; at least {least} are needed to learn what pictures differ by"
    )]
    Few {
        /// How many there are.
        found: usize,
        /// How many there must be.
        least: usize,
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
    /// A training of the same checkpoint that was stopped, and had other options.
    #[error(
        "{} is a training that was stopped and had {difference}; give the same options to go on with it, or --restart to discard it",
        path.display()
    )]
    Begun {
        /// Its state.
        path: PathBuf,
        /// The first option that differs.
        difference: String,
    },
}

/// Trains a model and writes it to `out`, anew after every joint epoch that is to be kept. A training that was stopped goes on from
/// its last joint epoch; with `restart` it is discarded.
///
/// # Errors
/// [`TrainError`], by its variants. A file already at `out` is replaced only by a whole one.
pub fn train(
    data: &Path,
    out: &Path,
    config: &Train,
    objective: &dyn Objective,
    restart: bool,
    tell: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    let collection = data::open(data)?;
    train_on(&collection, None, out, config, objective, restart, tell)
}

/// Trains on a collection's items, or on those of some numbers, as [`train`] does.
///
/// # Errors
/// As [`train`].
pub fn train_on(
    collection: &Collection,
    numbers: Option<&[usize]>,
    out: &Path,
    config: &Train,
    objective: &dyn Objective,
    restart: bool,
    tell: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    check(config, objective)?;
    let started = Instant::now();
    let device = crate::model::device(&config.compute.device)?;
    match config.compute.threads {
        Some(threads) => tch::set_num_threads(threads as i32),
        // Where a GPU computes, OpenMP's threads would only take cores from those that make its pictures.
        None if device != Device::Cpu => tch::set_num_threads(1),
        None => {}
    }
    if restart {
        resume::remove(out)?;
    }
    let pictures = Pictures::read(
        collection,
        numbers,
        config.input(),
        config.per_class,
        config.seed,
    )?;
    for (name, reason) in &pictures.skipped {
        tracing::warn!(name, reason, "skipped an image that cannot be read");
    }
    let fraction = match config.teacher {
        Some(_) => 0.0,
        None => config.validation_fraction,
    };
    let (train, validation) = pictures.split(fraction, config.seed);
    let of = json!({ "options": config, "objective": objective.name(), "images": train.len(), "classes": pictures.classes });
    let begun = resume::read(out, &of)?;
    tch::manual_seed(config.seed as i64);
    let mut card = card(config, &pictures.classes)?;
    let (mut network, parent) = match &config.start {
        Some(path) => {
            let (network, parent) = given::start(path, &mut card, config.seed, device)?;
            (network, Some(parent))
        }
        None => (Network::new(&card, device)?, None),
    };
    let mut run = Run::new(
        config,
        objective,
        &card,
        &pictures.sets,
        &pictures.labels,
        device,
    )?;
    if let Some(path) = &config.teacher {
        let answers = given::answers(path, &pictures, &mut card, device, run.pass.kind)?;
        run.targets.soften(&answers)?;
    }
    let images = Images {
        pictures: &pictures,
        train,
        validation,
    };
    let begun = match begun {
        Some(begun) => {
            tracing::info!(
                epoch = begun.mark.epoch,
                "goes on with a training that was stopped"
            );
            resume::restore(&network, &begun.state)?;
            begun
        }
        None => {
            if let Some(path) = &config.backbone {
                checkpoint::load_backbone(&mut network, path)?;
            }
            // What was trained knows what its features are scaled by.
            if config.start.is_none() || config.warm_up_epochs > 0 {
                let (numbers, features) = run.features(&network, &images)?;
                let Network {
                    variables, policy, ..
                } = &mut network;
                run.warm_up(variables, policy, &features, &numbers, tell)?;
            }
            let seconds = started.elapsed().as_secs();
            let mark = Mark {
                of,
                seconds,
                ..Mark::default()
            };
            Begun {
                mark,
                state: BTreeMap::new(),
            }
        }
    };
    let mut save = |network: &Network, mark: &Mark, validation: &[f64], pace: Pace| {
        card.training = json!({
            "images": images.train.len(), "epochs_done": mark.epoch, "options": config,
            "objective": objective.name(),
            "seconds": mark.seconds, "validation_accuracy": validation,
            "skipped_files": pictures.skipped.len(), "share_of_time_waiting_for_pictures": pace.waited,
            "joint_images_per_second": pace.images, "parent": parent,
        });
        checkpoint::save(network, &card, out)
    };
    if config.epochs == 0 {
        save(
            &network,
            &begun.mark,
            &run.validate(&network, &images)?,
            Pace::default(),
        )?;
    }
    run.joint(&network, &images, out, begun, tell, &mut save)?;
    resume::remove(out)?;
    Ok(card)
}

/// The card of a model that is to be trained.
///
/// # Errors
/// [`ModelError::Classes`] if there are more than hash centres.
pub fn card(config: &Train, classes: &[String]) -> Result<Card, ModelError> {
    let mut lengths = config.lengths.clone();
    lengths.sort();
    lengths.dedup();
    let mut centers = BTreeMap::new();
    for &length in &lengths {
        let made = match classes {
            [] => Vec::new(),
            _ => centers::make(config.centers, length, classes.len(), config.seed)?,
        };
        centers.insert(length, made);
    }
    let (mean, deviation) = config.architecture.normalisation();
    Ok(Card {
        backbone: config.architecture,
        policy: config.policy.clone(),
        lengths,
        sketch: None,
        thresholds: None,
        input_size: config.input_size,
        resize: config.resize,
        mean,
        deviation,
        classes: classes.to_vec(),
        centers,
        training: serde_json::Value::Null,
        quality: serde_json::Value::Null,
    })
}

impl Run<'_> {
    /// Features of the training images, changed at random as in training, in a random order: their numbers, and `[images, feature]`.
    /// The batch norms' statistics are first moved to the data.
    fn features(
        &self,
        network: &Network,
        images: &Images<'_>,
    ) -> Result<(Vec<usize>, Tensor), ModelError> {
        let mut rng = self.random(Stage::Features, 0);
        let mut order = images.train.clone();
        order.shuffle(&mut rng);
        let mut features = |batches: Chunks<'_, usize>, count: usize, pass: Pass| {
            let plan = Plan {
                pictures: images.pictures,
                batches: batches
                    .take(count)
                    .map(|numbers| (rng.random(), numbers))
                    .collect(),
                side: self.config.input_size,
                augment: Some(Augment::new(self.config.augment)),
            };
            ahead::each(plan, self.device, |batch| {
                tch::no_grad(|| network.features(&batch.images, pass))
            })
        };
        if self.config.epochs > 0 {
            let moving = Pass {
                train: true,
                ..self.pass
            };
            let batches = order.chunks(self.config.batch_size);
            let _moved = features(batches, STATISTICS_BATCHES, moving)?;
        }
        let parts = features(order.chunks(FEATURE_BATCH), usize::MAX, self.pass)?;
        let features = Tensor::f_cat(&parts, 0)?;
        Ok((order, features))
    }
}
