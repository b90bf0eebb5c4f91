//! Training on photographs that nobody labelled: a published classifier names what each may be, and the target is the centroid of the
//! semantic centres of those classes (the paper's rule for several labels, each as sure as it is). The backbone stands still.
//! Knows the order of that work; the policy's step is its run's.

use std::{path::Path, time::Instant};

use rand::Rng;
use serde_json::json;
use tch::Tensor;

use super::{
    FEATURE_BATCH, Progress, Run, TrainError, check,
    data::{
        Collection,
        ahead::{self, Plan},
        augment::Augment,
        pictures::Pictures,
    },
    run::Stage,
};
use crate::{
    config::Train,
    model::{Card, ModelError, Network, centers, checkpoint},
};

/// How often each picture is seen, each time cut and coloured otherwise.
const VIEWS: usize = 4;

/// Trains the policies of a model on a collection's pictures, whatever they are labelled, and writes it to `out`. `classifier` is the
/// backbone's as published (`.pth`), and the configuration's backbone its weights.
///
/// # Errors
/// [`TrainError`], by its variants.
pub fn train_unlabelled(
    collection: &Collection,
    classifier: &Path,
    out: &Path,
    config: &Train,
    tell: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    let mut config = config.clone();
    (config.policy.centroid, config.epochs) = (true, 0);
    check(&config)?;
    let started = Instant::now();
    let device = crate::model::device(&config.compute.device)?;
    let (weight, bias) = checkpoint::import_classifier(classifier)?;
    let classes: Vec<String> = (0..bias.size()[0])
        .map(|class| format!("imagenet-{class}"))
        .collect();
    let mut card = super::card(&config, &classes)?;
    let mut sure = Vec::new();
    for (length, centers) in &mut card.centers {
        let (codes, values) = centers::semantic(&weight, *length, config.seed)?;
        *centers = codes;
        sure.push(values);
    }
    tch::manual_seed(config.seed as i64);
    let mut network = Network::new(&card, device)?;
    if let Some(path) = &config.backbone {
        checkpoint::load_backbone(&mut network, path)?;
    }
    if let Some(environment) = network.policy.environment() {
        environment.set(&weight, &bias, &sure)?;
    }
    let side = config.input_size;
    let pictures = Pictures::read(
        collection,
        None,
        config.input(),
        config.per_class,
        config.seed,
    )?;
    for (name, reason) in &pictures.skipped {
        tracing::warn!(name, reason, "skipped an image that cannot be read");
    }
    let images = pictures.labels.len();
    let mut run = Run::new(&config, &card, &[vec![0]], &vec![0; images * VIEWS], device)?;
    let mut rng = run.random(Stage::Features, 0);
    let numbers: Vec<usize> = (0..images).collect();
    let mut parts = Vec::new();
    for view in 0..VIEWS {
        // The first is the picture as it is.
        let augment = (view > 0).then(|| Augment::new(config.augment));
        let plan = Plan {
            pictures: &pictures,
            batches: numbers
                .chunks(FEATURE_BATCH)
                .map(|numbers| (rng.random(), numbers))
                .collect(),
            side,
            augment,
        };
        parts.extend(ahead::each(plan, device, |batch| {
            tch::no_grad(|| network.features(&batch.images, run.pass))
        })?);
    }
    let features = Tensor::f_cat(&parts, 0).map_err(ModelError::from)?;
    if let Some(environment) = network.policy.environment() {
        run.targets
            .soften(&tch::no_grad(|| environment.centroid(&features))?)?;
    }
    let numbers: Vec<usize> = (0..images * VIEWS).collect();
    let Network {
        variables, policy, ..
    } = &mut network;
    run.warm_up(variables, policy, &features, &numbers, tell)?;
    card.training = json!({
        "images": images, "views": VIEWS, "options": config, "seconds": started.elapsed().as_secs(),
        "skipped_files": pictures.skipped.len(),
    });
    checkpoint::save(&network, &card, out)?;
    Ok(card)
}
