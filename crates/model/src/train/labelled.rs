//! Training on labelled images: hash centres, a warm-up of the policies on fixed features, then
//! both networks together.

use std::{collections::BTreeMap, path::Path, time::Instant};

use serde_json::json;
use tch::Device;

use crate::{
    card::Card,
    checkpoint,
    network::Network,
    options::Train,
    train::{
        card::card,
        check::check,
        data::{collection::Collection, open, pictures::Pictures},
        error::TrainError,
        inherit,
        objective::Objective,
        progress::Progress,
        resume::{self, ResumePoint, SavedTraining},
        run::{Run, TrainingImages, joint::EpochPace},
    },
};

/// Trains a model and writes it to `out`, and again after every joint epoch whose weights are kept.
/// An unfinished training resumes after its last joint epoch. If `restart` is true, it is discarded
/// instead.
///
/// # Errors
/// Each variant of [`TrainError`] except [`TooFewImages`](TrainError::TooFewImages). A file at
/// `out` is replaced only by a complete one.
pub fn train(
    data: &Path,
    out: &Path,
    config: &Train,
    objective: &dyn Objective,
    restart: bool,
    report: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    let collection = open::open(data)?;
    train_on(&collection, None, out, config, objective, restart, report)
}

/// Trains on a collection's items, or on those of these numbers, as [`train`] does.
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
    report: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    check(config, objective)?;
    let started = Instant::now();
    let device = crate::device(&config.compute.device)?;
    match config.compute.threads {
        Some(threads) => tch::set_num_threads(threads as i32),
        // If a GPU computes, OpenMP's threads only take cores from the threads that make its
        // pictures.
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
        tracing::warn!(name, reason, "skipped an unreadable image");
    }
    let fraction = match config.teacher {
        Some(_) => 0.0,
        None => config.validation_fraction,
    };
    let (train, validation) = pictures.split(fraction, config.seed);
    let identity = json!({ "options": config, "objective": objective.name(), "images": train.len(), "classes": pictures.classes });
    let saved = resume::read(out, &identity)?;
    tch::manual_seed(config.seed as i64);
    let mut card = card(config, &pictures.classes)?;
    let (mut network, parent) = match &config.start {
        Some(path) => {
            let (network, parent) = inherit::load_parent(path, &mut card, config.seed, device)?;
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
        let answers = inherit::teacher_answers(path, &pictures, &mut card, device, run.pass.kind)?;
        run.targets.set_soft(&answers)?;
    }
    let images = TrainingImages {
        pictures: &pictures,
        train,
        validation,
    };
    let saved = match saved {
        Some(saved) => {
            tracing::info!(epoch = saved.point.epoch, "resuming an unfinished training");
            resume::restore_weights(&network, &saved.tensors)?;
            saved
        }
        None => {
            if let Some(path) = &config.backbone {
                checkpoint::load_backbone(&mut network, path)?;
            }
            // A trained model already has the scale of its features.
            if config.start.is_none() || config.warm_up_epochs > 0 {
                let (numbers, features) = run.features(&network, &images)?;
                let Network {
                    variables, policy, ..
                } = &mut network;
                run.warm_up(variables, policy, &features, &numbers, report)?;
            }
            let seconds = started.elapsed().as_secs();
            let point = ResumePoint {
                identity,
                seconds,
                ..ResumePoint::default()
            };
            SavedTraining {
                point,
                tensors: BTreeMap::new(),
            }
        }
    };
    let mut save = |network: &Network, point: &ResumePoint, validation: &[f64], pace: EpochPace| {
        card.training = json!({
            "images": images.train.len(), "epochs_done": point.epoch, "options": config,
            "objective": objective.name(),
            "seconds": point.seconds, "validation_accuracy": validation,
            "skipped_files": pictures.skipped.len(), "share_of_time_waiting_for_pictures": pace.waiting_share,
            "joint_images_per_second": pace.images_per_second, "parent": parent,
        });
        checkpoint::save(network, &card, out)
    };
    if config.epochs == 0 {
        save(
            &network,
            &saved.point,
            &run.validate(&network, &images)?,
            EpochPace::default(),
        )?;
    }
    run.joint(&network, &images, out, saved, report, &mut save)?;
    resume::remove(out)?;
    Ok(card)
}
