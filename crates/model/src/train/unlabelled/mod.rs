//! Training without labels. The sketch consists of the directions in which pictures differ but
//! copies of one picture do not. The part of them that fits into a code is the target of the
//! policies. The backbone does not change.
//!
//! - `features`: features of pictures and their copies, and the maps made of them
//! - `components`: directions that separate pictures but not their copies
//! - `weights`: the weights of those directions

pub mod components;
mod features;
mod weights;

use std::{path::Path, time::Instant};

use serde_json::json;
use tch::{Tensor, nn::VarStore};

use crate::{
    card::Card,
    checkpoint, device,
    error::ModelError,
    network::Network,
    options::Train,
    train::{
        card,
        check::check,
        data::collection::{Collection, Item},
        error::TrainError,
        objective::reinforce::Reinforce,
        progress::Progress,
        run::Run,
    },
};

use features::{CopyFeatures, SKETCH_BYTES, VIEWS_PER_IMAGE};
use weights::{DirectionWeights, FOR_OTHER_IMAGES, FOR_SAME_IMAGES};

pub use features::MIN_IMAGES;

/// The share of a sketch that distinguishes classes, for a model with classes.
const ANSWER_SHARE: f64 = 0.5;

/// Trains the policies and the sketch of a model on a collection's pictures, ignoring labels, and
/// writes the model to `out`. `classifier` is the file of the backbone's published weights with
/// their classifier (`.pth`). The configuration's `backbone` is the file of the same weights for
/// the backbone.
///
/// # Errors
/// [`TrainError`].
pub fn train_unlabelled(
    collection: &Collection,
    classifier: &Path,
    out: &Path,
    config: &Train,
    report: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    let device = device::device(&config.compute.device)?;
    let (weight, bias) = checkpoint::import_classifier(classifier)?;
    let config = unlabelled_options(config, weight.size()[0])?;
    let mut card = unlabelled_card(&config)?;
    tch::manual_seed(config.seed as i64);
    let mut network = Network::new(&card, device)?;
    if let Some(path) = &config.backbone {
        checkpoint::load_backbone(&mut network, path)?;
    }
    if let Some(environment) = network.policy.environment() {
        environment.set_classifier(&weight, &bias)?;
    }
    let items: Vec<&Item> = collection.items.iter().collect();
    card.training = fit(
        &mut network,
        &card,
        &items,
        &config,
        &FOR_OTHER_IMAGES,
        report,
    )?;
    checkpoint::save(&network, &card, out)?;
    Ok(card)
}

/// Trains new policies and a new sketch on pictures, ignoring labels. Uses a trained model's
/// backbone, and its classifier if it has one. Writes the new model, which has no classes, to
/// `out`.
///
/// # Errors
/// [`TrainError`].
pub fn adapt(
    parent: &Path,
    items: &[&Item],
    out: &Path,
    config: &Train,
    report: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    let device = device::device(&config.compute.device)?;
    let (given, given_card, id) = checkpoint::load(parent, device)?;
    let mut config = config.clone();
    config.architecture = given_card.backbone;
    config.lengths = given_card.lengths;
    (config.input_size, config.resize) = (given_card.input_size, given_card.resize);
    let config = unlabelled_options(&config, given_card.policy.classifier.unwrap_or(0))?;
    let mut card = unlabelled_card(&config)?;
    tch::manual_seed(config.seed as i64);
    let mut network = Network::new(&card, device)?;
    checkpoint::load_backbone(&mut network, parent)?;
    let environments = network.policy.environment().zip(given.policy.environment());
    if let Some((environment, given)) = environments {
        environment.copy_classifier(given)?;
    }
    card.training = fit(
        &mut network,
        &card,
        items,
        &config,
        &FOR_SAME_IMAGES,
        report,
    )?;
    card.training["parent"] = json!(id);
    checkpoint::save(&network, &card, out)?;
    Ok(card)
}

/// Makes a new sketch for a trained model on pictures, ignoring labels, and writes the model with
/// it to `out`. The codes stay the same.
///
/// # Errors
/// [`TrainError`].
pub fn add_sketch(
    parent: &Path,
    items: &[&Item],
    out: &Path,
    config: &Train,
    report: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    let device = device::device(&config.compute.device)?;
    let (given, mut card, _) = checkpoint::load(parent, device)?;
    (card.sketch, card.thresholds) = (Some(SKETCH_BYTES), None);
    let network = Network::new(&card, device)?;
    copy_values(&network.variables, &given.variables)?;
    let mut config = config.clone();
    (config.input_size, config.resize) = (card.input_size, card.resize);
    let examples = CopyFeatures::compute(&network, items, &config, report)?;
    if card.classes.is_empty() {
        examples.set_sketcher(&network, FOR_OTHER_IMAGES.ridge, None)?;
    } else {
        // The answers of the policy with the longest code.
        let answers = tch::no_grad(|| network.policy.logits(&examples.features[0]))
            .and_then(|logits| Ok(logits.f_tanh()?.f_select(0, -1)?))?;
        examples.set_sketcher(
            &network,
            FOR_OTHER_IMAGES.ridge,
            Some((&answers, ANSWER_SHARE)),
        )?;
    }
    checkpoint::save(&network, &card, out)?;
    Ok(card)
}

/// Copies values between variables that have the same name and shape in both networks.
fn copy_values(to: &VarStore, from: &VarStore) -> Result<(), ModelError> {
    let variables = to.variables();
    tch::no_grad(|| {
        for (name, value) in from.variables() {
            if let Some(variable) = variables.get(&name)
                && variable.size() == value.size()
            {
                variable.shallow_clone().f_copy_(&value)?;
            }
        }
        Ok(())
    })
}

/// Returns the options for a model without classes, whose environment has a classifier of `classes`
/// classes.
fn unlabelled_options(config: &Train, classes: i64) -> Result<Train, TrainError> {
    let mut config = config.clone();
    (config.policy.classifier, config.epochs) = (Some(classes), 0);
    check(&config, &Reinforce::from(&config))?;
    Ok(config)
}

fn unlabelled_card(config: &Train) -> Result<Card, ModelError> {
    let mut card = card::card(config, &[])?;
    card.sketch = Some(SKETCH_BYTES);
    Ok(card)
}

/// Learns the sketch, then the wanted values of bits, then the policies. Returns the training
/// record of the card.
fn fit(
    network: &mut Network,
    card: &Card,
    items: &[&Item],
    config: &Train,
    weights: &DirectionWeights,
    report: &mut dyn FnMut(Progress),
) -> Result<serde_json::Value, TrainError> {
    let started = Instant::now();
    let examples = CopyFeatures::compute(network, items, config, report)?;
    let wanted = examples.set_map(network, card, weights, config.seed)?;
    let shortest = card.lengths.first().map_or(0, |length| length.bits());
    // With fewer bits, each must carry more information about kinds.
    let kinds = wanted
        .f_get(0)
        .and_then(|head| head.f_narrow(1, 0, shortest as i64));
    let kinds = kinds.map_err(ModelError::from)?;
    let kinds = (weights.kinds > 0.0).then_some((&kinds, weights.kinds));
    examples.set_sketcher(network, weights.ridge, kinds)?;
    let pictures = examples.numbers.len();
    let copies = wanted
        .f_repeat([1, VIEWS_PER_IMAGE as i64, 1])
        .map_err(ModelError::from)?;
    let device = network.variables.device();
    let objective = Reinforce::from(config);
    let mut run = Run::new(
        config,
        &objective,
        card,
        &[vec![0]],
        &vec![0; pictures * VIEWS_PER_IMAGE],
        device,
    )?;
    run.targets.set_soft(&copies)?;
    let features = Tensor::f_cat(&examples.features, 0).map_err(ModelError::from)?;
    let numbers: Vec<usize> = (0..pictures * VIEWS_PER_IMAGE).collect();
    let Network {
        variables, policy, ..
    } = network;
    run.warm_up(variables, policy, &features, &numbers, report)?;
    Ok(json!({
        "images": pictures, "views": VIEWS_PER_IMAGE, "options": config, "seconds": started.elapsed().as_secs(),
        "skipped_files": items.len() - pictures,
    }))
}
