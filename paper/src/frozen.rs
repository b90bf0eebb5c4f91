//! Policies trained on the features of a backbone that stands still, and what codes all images get then: experiments of seconds where
//! joint training takes an hour. Knows features and labels; neither which experiments are made nor what their codes are worth.

use std::path::Path;

use tch::{Device, Tensor, nn::VarStore};

use scihcgrl_index::code::HashCode;
use scihcgrl_model::{
    model::{self, Card, ModelError, Network, Pass, Policy, checkpoint, codes},
    options::Train,
    train::{
        FEATURE_BATCH, Progress, Run, TrainError, card,
        data::{
            ahead::{self, Plan},
            pictures::Pictures,
        },
        options::check,
    },
};

use crate::methods::Training;

/// The features of all pictures of a data set, in their order.
pub struct Frozen<'a> {
    pictures: &'a Pictures,
    features: Tensor, // [pictures, feature]
    device: Device,
}

impl<'a> Frozen<'a> {
    /// Computes the features by the configuration's backbone at its input size, or reads them from `cache`, where they are left
    /// otherwise. A cache is of one backbone and one data set: whoever names it has to keep them apart.
    ///
    /// # Errors
    /// [`TrainError::Model`].
    pub fn compute(
        pictures: &'a Pictures,
        config: &Train,
        cache: &Path,
        tell: &mut dyn FnMut(usize),
    ) -> Result<Self, TrainError> {
        let device = model::device(&config.compute.device)?;
        if cache.exists() {
            let (_, mut kept) = checkpoint::read_tensors(cache)?;
            let features = kept.remove("features");
            let features = features.filter(|kept| kept.size()[0] == pictures.labels.len() as i64);
            let features = features.ok_or_else(|| TrainError::Data {
                path: cache.to_owned(),
                reason: "it holds features of other images; remove it to have them made anew"
                    .to_owned(),
            })?;
            let features = features.f_to_device(device).map_err(ModelError::from)?;
            return Ok(Frozen {
                pictures,
                features,
                device,
            });
        }
        let mut network = Network::new(&card(config, &pictures.classes)?, device)?;
        if let Some(path) = &config.backbone {
            checkpoint::load_backbone(&mut network, path)?;
        }
        let features = all_features(&network, pictures, config.input_size, tell)?;
        checkpoint::write_tensors(&[("features", features.shallow_clone())], None, cache)?;
        Ok(Frozen {
            pictures,
            features,
            device,
        })
    }

    /// Trains policies on the `training` pictures as the configuration's warm-up has it, and returns the codes of all pictures: for
    /// each one per length, ascending.
    ///
    /// # Errors
    /// As [`train`](scihcgrl_model::train::train).
    pub fn codes(
        &self,
        method: &Training,
        training: &[usize],
        tell: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Vec<HashCode>>, TrainError> {
        let (config, objective) = (&method.train, method.objective());
        check(config, &*objective)?;
        tch::manual_seed(config.seed as i64);
        let card = card(config, &self.pictures.classes)?;
        let labels: Vec<usize> = training
            .iter()
            .map(|&number| self.pictures.labels[number])
            .collect();
        let run = Run::new(
            config,
            &*objective,
            &card,
            &self.pictures.sets,
            &labels,
            self.device,
        )?;
        let variables = VarStore::new(self.device);
        let feature = self.features.size().last().copied().unwrap_or(0);
        let mut policy = Policy::new(
            &(variables.root() / "policy"),
            feature,
            &config.policy,
            &card.lengths,
            None,
        )?;
        let rows: Vec<i64> = training.iter().map(|&number| number as i64).collect();
        let rows = Tensor::f_from_slice(&rows).map_err(ModelError::from)?;
        let rows = rows.f_to_device(self.device).map_err(ModelError::from)?;
        let features = self
            .features
            .f_index_select(0, &rows)
            .map_err(ModelError::from)?;
        let numbers: Vec<usize> = (0..training.len()).collect();
        run.warm_up(&variables, &mut policy, &features, &numbers, tell)?;
        coded(&policy, &card, &self.features)
    }
}

/// The codes that a trained model gives to all pictures: for each one per length, ascending.
///
/// # Errors
/// [`TrainError::Model`].
pub fn codes_of(
    model: &Path,
    pictures: &Pictures,
    device: &str,
    tell: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<HashCode>>, TrainError> {
    let (network, card, _) = checkpoint::load(model, model::device(device)?)?;
    let features = all_features(&network, pictures, card.input_size, tell)?;
    coded(&network.policy, &card, &features)
}

/// Features of all pictures, `[pictures, feature]`; tells how many are done.
fn all_features(
    network: &Network,
    pictures: &Pictures,
    side: u32,
    tell: &mut dyn FnMut(usize),
) -> Result<Tensor, TrainError> {
    let pass = Pass {
        train: false,
        kind: tch::Kind::Float,
    };
    let numbers: Vec<usize> = (0..pictures.labels.len()).collect();
    let plan = Plan::unchanged(pictures, &numbers, FEATURE_BATCH, side);
    let parts = ahead::each(plan, network.variables.device(), |batch| {
        let features = tch::no_grad(|| network.features(&batch.images, pass))?;
        tell(batch.numbers.last().map_or(0, |last| last + 1));
        Ok(features)
    })?;
    Ok(Tensor::f_cat(&parts, 0).map_err(ModelError::from)?)
}

fn coded(
    policy: &Policy,
    card: &Card,
    features: &Tensor,
) -> Result<Vec<Vec<HashCode>>, TrainError> {
    let parts = features.f_split(4096, 0).map_err(ModelError::from)?;
    let parts = parts
        .iter()
        .map(|part| codes(&card.lengths, &tch::no_grad(|| policy.logits(part))?));
    Ok(parts.collect::<Result<Vec<_>, ModelError>>()?.concat())
}
