//! Training on pictures that nobody labelled. What pictures differ by, and copies of them do not, becomes the sketch; what of it a code can
//! say becomes the target of the policies. The backbone stands still.
//! Knows the order of that work; the policy's step is its run's.

use std::{path::Path, time::Instant};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tch::{Kind, Tensor, nn::VarStore};

use super::{
    Progress, Run, TrainError, check,
    components::{Spread, turn},
    data::{Collection, Item},
    views,
};
use crate::{
    config::Train,
    image::change,
    model::{self, Card, ModelError, Network, Pass, TONES, checkpoint},
};

/// How often each picture is seen: as it is, and changed otherwise each time.
const VIEWS: usize = 5;
/// Bytes of a sketch.
const SKETCH: usize = 192;
/// What classes count for in a target, against a feature whose distance from the mean is 1 in the mean.
const CLASSES: f64 = 1.0;
/// Of a model of classes, the share of a sketch that says which class a picture is of.
const ANSWERS: f64 = 0.5;

/// How much it counts of which kind a picture is, against what tells it from all others.
struct Balance {
    /// How much alike all directions count that bits are made of, from 0 to 1: the largest are those in which kinds differ.
    evenness: f64,
    /// The share of a sketch that says of which kind a picture is.
    kinds: f64,
}

/// For pictures that are not there to be learned from. They are of other kinds.
const OTHERS: Balance = Balance {
    evenness: 0.5,
    kinds: 0.0,
};
/// For the pictures that are learned from, and such as these.
const THESE: Balance = Balance {
    evenness: 0.0,
    kinds: 0.4,
};

/// The fewest pictures that a model can learn from: more than there are directions in a sketch.
pub const FEWEST: usize = SKETCH + 64;

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
    card.training = fit(&mut network, &card, &items, &config, &OTHERS, tell)?;
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
    card.training = fit(&mut network, &card, items, &config, &THESE, tell)?;
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
        true => seen.sketch(&network, None)?,
        false => {
            // What the policies of the longest code answer.
            let answers = tch::no_grad(|| network.policy.logits(&seen.features[0]))
                .and_then(|logits| Ok(logits.f_tanh()?.f_select(0, -1)?))?;
            seen.sketch(&network, Some((&answers, ANSWERS)))?;
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
    check(&config)?;
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
    balance: &Balance,
    tell: &mut dyn FnMut(Progress),
) -> Result<serde_json::Value, TrainError> {
    let started = Instant::now();
    let seen = Seen::of(network, items, config, tell)?;
    let wanted = seen.wanted(network, card, balance.evenness, config.seed)?;
    let shortest = card.lengths.first().map_or(0, |length| length.bits());
    // The fewer bits there are, the more each says of kinds.
    let kinds = wanted
        .f_get(0)
        .and_then(|head| head.f_narrow(1, 0, shortest as i64));
    let kinds = kinds.map_err(ModelError::from)?;
    seen.sketch(
        network,
        (balance.kinds > 0.0).then_some((&kinds, balance.kinds)),
    )?;
    let pictures = seen.numbers.len();
    let copies = wanted
        .f_repeat([1, VIEWS as i64, 1])
        .map_err(ModelError::from)?;
    let device = network.variables.device();
    let mut run = Run::new(config, card, &[vec![0]], &vec![0; pictures * VIEWS], device)?;
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

/// What the backbone sees in pictures and in changed copies of them.
struct Seen {
    /// The pictures that could be read, by their places among the items.
    numbers: Vec<usize>,
    /// Of the pictures first, then of each round of copies: `[pictures, feature]`.
    features: Vec<Tensor>,
    /// Of the pictures: `[pictures, TONES]`.
    tones: Tensor,
}

impl Seen {
    fn of(
        network: &Network,
        items: &[&Item],
        config: &Train,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<Self, TrainError> {
        let device = network.variables.device();
        let pass = Pass {
            train: false,
            kind: model::kind(config.compute.precision, device),
        };
        let (mut all, mut numbers, mut tones) = (Vec::new(), Vec::new(), Vec::new());
        for view in 0..VIEWS {
            let changed = |number: usize, picture: ::image::RgbImage| {
                if view == 0 {
                    return Ok(picture);
                }
                let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
                rng.set_stream((number * VIEWS + view) as u64);
                // What cannot be done to a picture leaves it as it is.
                Ok(change::random(&picture, &mut rng).unwrap_or(picture))
            };
            let (mut features, mut read) = (Vec::new(), Vec::new());
            views::each(items, config.input(), &changed, |batch| {
                let rgb: Vec<u8> = batch
                    .pixels
                    .iter()
                    .flat_map(|one| &one.rgb)
                    .copied()
                    .collect();
                let images = network.upload(&rgb, config.input_size)?;
                features.push(tch::no_grad(|| network.features(&images, pass))?);
                if let Some(sketcher) = network.sketcher.as_ref().filter(|_| view == 0) {
                    tones.push(tch::no_grad(|| sketcher.tones(&images))?);
                }
                read.extend(batch.numbers);
                tell(Progress {
                    stage: "features",
                    epoch: view + 1,
                    epochs: VIEWS,
                    step: view * items.len() + read.last().map_or(0, |last| last + 1),
                    steps: VIEWS * items.len(),
                    ..Progress::default()
                });
                Ok::<_, ModelError>(())
            })?;
            if view == 0 {
                numbers = read;
                few(numbers.len())?;
            } else if numbers != read {
                return Err(TrainError::Data {
                    path: "the pictures".into(),
                    reason: "some could be read first and no longer later".to_owned(),
                });
            }
            all.push(Tensor::f_cat(&features, 0).map_err(ModelError::from)?);
        }
        Ok(Seen {
            numbers,
            features: all,
            tones: Tensor::f_cat(&tones, 0).map_err(ModelError::from)?,
        })
    }

    /// Sets the network's sketcher. `kinds` says of which kind each picture is, `[pictures, entries]`, and has a share of a sketch's squared
    /// length, not counting tones.
    fn sketch(&self, network: &Network, kinds: Option<(&Tensor, f64)>) -> Result<(), ModelError> {
        let Some(sketcher) = &network.sketcher else {
            return Ok(());
        };
        let spread = Spread::of(&self.features[0], &self.features[1..])?;
        let projected = (SKETCH - TONES) as i64;
        let projection = match kinds {
            None => spread.components(projected, 0.0)?,
            Some((kinds, share)) => {
                let map = spread.regression(&self.features[0], kinds)?;
                let own = spread.components(projected - map.size2()?.1, 0.0)?;
                let scale = spread
                    .size(&own)?
                    .f_div(&spread.size(&map)?.f_clamp_min(1e-12)?)?;
                let scale = scale.f_mul_scalar(share / (1.0 - share))?.f_sqrt()?;
                Tensor::f_cat(&[own, map.f_mul(&scale)?], 1)?
            }
        };
        let deviation = self.tones.f_std_dim([0i64].as_slice(), true, false)?;
        let deviation = deviation.f_clamp_min(1e-6)?;
        sketcher.set(&spread.mean()?, &projection, &deviation)
    }

    /// Sets the map of the network's environment, and returns the values that it wants for the pictures: `[heads, pictures, bits]`.
    fn wanted(
        &self,
        network: &Network,
        card: &Card,
        evenness: f64,
        seed: u64,
    ) -> Result<Tensor, ModelError> {
        let Some(environment) = network.policy.environment() else {
            return Ok(Tensor::f_zeros(
                [0],
                (Kind::Float, network.variables.device()),
            )?);
        };
        tch::no_grad(|| {
            let feature = self.features[0].size2()?.1;
            let centred = self.features[0].f_sub(&self.features[0].f_mean_dim(
                [0i64].as_slice(),
                true,
                Kind::Float,
            )?)?;
            let lengths = centred.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), false)?;
            let length = f64::try_from(lengths.f_mean(Kind::Double)?)?.max(1e-12);
            let seen = self
                .features
                .iter()
                .map(|features| environment.seen(features));
            let seen = seen.collect::<Result<Vec<_>, _>>()?;
            let scale = seen[0].f_ones_like()?.f_get(0)?.f_mul_scalar(CLASSES)?;
            let _ = scale.f_narrow(0, 0, feature)?.f_fill_(1.0 / length)?;
            let scaled = seen.iter().map(|seen| Ok(seen.f_mul(&scale)?));
            let scaled = scaled.collect::<Result<Vec<_>, ModelError>>()?;
            let spread = Spread::of(&scaled[0], &scaled[1..])?;
            let centred = scaled[0].f_sub(&spread.mean()?)?.f_to_kind(Kind::Double)?;
            let heads = card.lengths.iter().map(|length| {
                let components = spread.components(length.bits() as i64, evenness)?;
                let turn = turn(&centred.f_matmul(&components)?, seed)?;
                let map = components.f_matmul(&turn)?.f_to_kind(Kind::Float)?;
                Ok(map.f_mul(&scale.f_unsqueeze(1)?)?)
            });
            let heads = heads.collect::<Result<Vec<_>, ModelError>>()?;
            environment.set_map(&spread.mean()?.f_div(&scale)?, &heads)?;
            environment.wanted(&self.features[0])
        })
    }
}

/// Refuses fewer pictures than a model can learn from.
fn few(pictures: usize) -> Result<(), TrainError> {
    match pictures < FEWEST {
        false => Ok(()),
        true => Err(TrainError::Few {
            found: pictures,
            least: FEWEST,
        }),
    }
}
