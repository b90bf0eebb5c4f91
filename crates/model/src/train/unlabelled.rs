//! Training on pictures that nobody labelled. What pictures differ by, and copies of them do not, becomes the sketch; what of it a code can
//! say becomes the target of the policies. The backbone stands still.
//! Knows the order of that work; the policy's step is its run's.

mod seen;

use std::{path::Path, time::Instant};

use serde_json::json;
use tch::{Tensor, nn::VarStore};

use super::reinforce::Reinforce;
use super::{
    Progress, Run, TrainError, check,
    data::{Collection, Item},
};
use crate::{
    model::{self, Card, ModelError, Network, checkpoint},
    options::Train,
};
pub use seen::FEWEST;
use seen::{SKETCH, Seen, VIEWS};

/// Of a model of classes, the share of a sketch that says which class a picture is of.
const ANSWERS: f64 = 0.5;

/// How directions of the feature are weighed: by what changes do to them, and by how pictures differ in them.
struct Weights {
    /// The ridge of [`components`](super::components::Spread::components): the less, the more it counts that changes leave a direction alone.
    ridge: f64,
    /// How much alike all directions count that bits are made of, from 0 to 1: the largest are those in which kinds differ.
    evenness: f64,
    /// The share of a sketch that says of which kind a picture is.
    kinds: f64,
}

/// For a model that will search other pictures than it learns from, which are of other kinds.
const FOR_OTHERS: Weights = Weights {
    ridge: 3.0,
    evenness: 0.5,
    kinds: 0.0,
};
/// For a model that will search the pictures that it learns from.
const FOR_THESE: Weights = Weights {
    ridge: 1.0,
    evenness: 0.0,
    kinds: 0.4,
};

/// Trains the policies and the sketch of a model on a collection's pictures, whatever they are labelled, and writes it to `out`. `classifier`
/// is the backbone's as published (`.pth`), and the configuration's backbone its weights.
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
    let device = model::device(&config.compute.device)?;
    let (weight, bias) = checkpoint::import_classifier(classifier)?;
    let config = of_unlabelled(config, weight.size()[0])?;
    let mut card = card(&config)?;
    tch::manual_seed(config.seed as i64);
    let mut network = Network::new(&card, device)?;
    if let Some(path) = &config.backbone {
        checkpoint::load_backbone(&mut network, path)?;
    }
    if let Some(environment) = network.policy.environment() {
        environment.set_classifier(&weight, &bias)?;
    }
    let items: Vec<&Item> = collection.items.iter().collect();
    card.training = fit(&mut network, &card, &items, &config, &FOR_OTHERS, tell)?;
    checkpoint::save(&network, &card, out)?;
    Ok(card)
}

/// Trains new policies and a new sketch for a trained model's backbone, and its classifier if it has one, on pictures whatever they are
/// labelled, and writes the new model to `out`. It knows no classes.
///
/// # Errors
/// [`TrainError`], by its variants.
pub fn adapt(
    parent: &Path,
    items: &[&Item],
    out: &Path,
    config: &Train,
    tell: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    let device = model::device(&config.compute.device)?;
    let (given, given_card, id) = checkpoint::load(parent, device)?;
    let mut config = config.clone();
    config.architecture = given_card.backbone;
    config.lengths = given_card.lengths;
    (config.input_size, config.resize) = (given_card.input_size, given_card.resize);
    let config = of_unlabelled(&config, given_card.policy.classifier.unwrap_or(0))?;
    let mut card = card(&config)?;
    tch::manual_seed(config.seed as i64);
    let mut network = Network::new(&card, device)?;
    checkpoint::load_backbone(&mut network, parent)?;
    let environments = network.policy.environment().zip(given.policy.environment());
    if let Some((environment, given)) = environments {
        environment.take_classifier(given)?;
    }
    card.training = fit(&mut network, &card, items, &config, &FOR_THESE, tell)?;
    card.training["parent"] = json!(id);
    checkpoint::save(&network, &card, out)?;
    Ok(card)
}

/// Makes a new sketch for a trained model, of pictures whatever they are labelled, and writes both to `out`. Codes stay as they are.
///
/// # Errors
/// [`TrainError`], by its variants.
pub fn sketch(
    parent: &Path,
    items: &[&Item],
    out: &Path,
    config: &Train,
    tell: &mut dyn FnMut(Progress),
) -> Result<Card, TrainError> {
    let device = model::device(&config.compute.device)?;
    let (given, mut card, _) = checkpoint::load(parent, device)?;
    (card.sketch, card.thresholds) = (Some(SKETCH), None);
    let network = Network::new(&card, device)?;
    take(&network.variables, &given.variables)?;
    let mut config = config.clone();
    (config.input_size, config.resize) = (card.input_size, card.resize);
    let seen = Seen::of(&network, items, &config, tell)?;
    match card.classes.is_empty() {
        true => seen.sketch(&network, FOR_OTHERS.ridge, None)?,
        false => {
            // What the policies of the longest code answer.
            let answers = tch::no_grad(|| network.policy.logits(&seen.features[0]))
                .and_then(|logits| Ok(logits.f_tanh()?.f_select(0, -1)?))?;
            seen.sketch(&network, FOR_OTHERS.ridge, Some((&answers, ANSWERS)))?;
        }
    }
    checkpoint::save(&network, &card, out)?;
    Ok(card)
}

/// Gives the variables of one network the values of another's, as far as it has them.
fn take(to: &VarStore, from: &VarStore) -> Result<(), ModelError> {
    let to = to.variables();
    tch::no_grad(|| {
        for (name, value) in from.variables() {
            if let Some(variable) = to.get(&name)
                && variable.size() == value.size()
            {
                variable.shallow_clone().f_copy_(&value)?;
            }
        }
        Ok(())
    })
}

/// The options for a model without classes, whose environment has a classifier of some.
fn of_unlabelled(config: &Train, classes: i64) -> Result<Train, TrainError> {
    let mut config = config.clone();
    (config.policy.classifier, config.epochs) = (Some(classes), 0);
    check(&config, &Reinforce::from(&config))?;
    Ok(config)
}

fn card(config: &Train) -> Result<Card, ModelError> {
    let mut card = super::card(config, &[])?;
    card.sketch = Some(SKETCH);
    Ok(card)
}

/// Learns the sketch, then what is wanted of each bit, then the policies; what there is to say of it for the card.
fn fit(
    network: &mut Network,
    card: &Card,
    items: &[&Item],
    config: &Train,
    weights: &Weights,
    tell: &mut dyn FnMut(Progress),
) -> Result<serde_json::Value, TrainError> {
    let started = Instant::now();
    let seen = Seen::of(network, items, config, tell)?;
    let wanted = seen.wanted(network, card, weights, config.seed)?;
    let shortest = card.lengths.first().map_or(0, |length| length.bits());
    // The fewer bits there are, the more each says of kinds.
    let kinds = wanted
        .f_get(0)
        .and_then(|head| head.f_narrow(1, 0, shortest as i64));
    let kinds = kinds.map_err(ModelError::from)?;
    let kinds = (weights.kinds > 0.0).then_some((&kinds, weights.kinds));
    seen.sketch(network, weights.ridge, kinds)?;
    let pictures = seen.numbers.len();
    let copies = wanted
        .f_repeat([1, VIEWS as i64, 1])
        .map_err(ModelError::from)?;
    let device = network.variables.device();
    let objective = Reinforce::from(config);
    let mut run = Run::new(
        config,
        &objective,
        card,
        &[vec![0]],
        &vec![0; pictures * VIEWS],
        device,
    )?;
    run.targets.soften(&copies)?;
    let features = Tensor::f_cat(&seen.features, 0).map_err(ModelError::from)?;
    let numbers: Vec<usize> = (0..pictures * VIEWS).collect();
    let Network {
        variables, policy, ..
    } = network;
    run.warm_up(variables, policy, &features, &numbers, tell)?;
    Ok(json!({
        "images": pictures, "views": VIEWS, "options": config, "seconds": started.elapsed().as_secs(),
        "skipped_files": items.len() - pictures,
    }))
}
