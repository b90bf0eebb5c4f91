//! Trains policies on fixed features of a backbone, and returns the codes of all images. Such an
//! experiment takes seconds, and joint training an hour.

use std::path::Path;

use tch::{Device, Tensor, nn::VarStore};

use scihcgrl_index::code::HashCode;
use scihcgrl_model::{
    self as model, Card, ModelError, Network, Pass, Policy, checkpoint, codes,
    options::Train,
    train::{
        Progress, Run, TrainError, card,
        check::check,
        data::{
            pictures::Pictures,
            prefetch::{self, BatchPlan, FEATURE_BATCH},
        },
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
    /// Computes the features with the configuration's backbone at its input size, or reads them
    /// from `cache`. Saves computed features there. A cache is for one backbone and one data set;
    /// the caller keeps caches apart.
    ///
    /// # Errors
    /// [`TrainError::Model`].
    pub fn compute(
        pictures: &'a Pictures,
        config: &Train,
        cache: &Path,
        report: &mut dyn FnMut(usize),
    ) -> Result<Self, TrainError> {
        let device = model::device(&config.compute.device)?;
        if cache.exists() {
            let (_, mut kept) = checkpoint::read_tensors(cache)?;
            let features = kept.remove("features");
            let features = features.filter(|kept| {
                let rows = kept.size().first().map(|&rows| usize::try_from(rows));
                rows == Some(Ok(pictures.labels.len()))
            });
            let features = features.ok_or_else(|| TrainError::Data {
                path: cache.to_owned(),
                reason: "it holds features of other images; remove it to compute them again"
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
        let features = all_features(&network, pictures, config.input_size, report)?;
        checkpoint::write_tensors(&[("features", features.shallow_clone())], None, cache)?;
        Ok(Frozen {
            pictures,
            features,
            device,
        })
    }

    /// Trains policies on the `training` pictures with the warm-up of the configuration. Returns
    /// the codes of all pictures, for each picture one per length, ascending.
    ///
    /// # Errors
    /// As [`train`](scihcgrl_model::train::train).
    pub fn codes(
        &self,
        method: &Training,
        training: &[usize],
        report: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Vec<HashCode>>, TrainError> {
        let (config, objective) = (&method.train, method.objective());
        check(config, &*objective)?;
        tch::manual_seed(config.seed.cast_signed());
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
        #[expect(
            clippy::cast_possible_wrap,
            reason = "they were indices above, and those fit in an i64"
        )]
        let rows: Vec<i64> = training.iter().map(|&number| number as i64).collect();
        let rows = Tensor::f_from_slice(&rows).map_err(ModelError::from)?;
        let rows = rows.f_to_device(self.device).map_err(ModelError::from)?;
        let features = self
            .features
            .f_index_select(0, &rows)
            .map_err(ModelError::from)?;
        let numbers: Vec<usize> = (0..training.len()).collect();
        run.warm_up(&variables, &mut policy, &features, &numbers, report)?;
        coded(&policy, &card, &self.features)
    }
}

/// Returns the codes of all pictures by a trained model, for each picture one per length,
/// ascending.
///
/// # Errors
/// [`TrainError::Model`].
pub fn codes_of(
    model: &Path,
    pictures: &Pictures,
    device: &str,
    report: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<HashCode>>, TrainError> {
    let (network, card, _) = checkpoint::load(model, model::device(device)?)?;
    let features = all_features(&network, pictures, card.input_size, report)?;
    coded(&network.policy, &card, &features)
}

/// Computes the features of all pictures, `[pictures, feature]`. Reports how many are done.
fn all_features(
    network: &Network,
    pictures: &Pictures,
    side: u32,
    report: &mut dyn FnMut(usize),
) -> Result<Tensor, TrainError> {
    let pass = Pass {
        train: false,
        kind: tch::Kind::Float,
    };
    let numbers: Vec<usize> = (0..pictures.labels.len()).collect();
    let plan = BatchPlan::unchanged(pictures, &numbers, FEATURE_BATCH, side);
    let parts = prefetch::map_batches(plan, network.variables.device(), |batch| {
        let features = tch::no_grad(|| network.features(&batch.images, pass))?;
        report(batch.numbers.last().map_or(0, |last| last + 1));
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
