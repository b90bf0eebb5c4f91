//! Features of the training images, for the warm-up.

use std::slice::Chunks;

use rand::{Rng, seq::SliceRandom};
use tch::Tensor;

use crate::{
    error::ModelError,
    network::{Network, backbone::Pass},
    train::{
        data::{
            augment::Augment,
            prefetch::{self, BatchPlan, FEATURE_BATCH},
        },
        run::{Run, Stage, TrainingImages},
    },
};

/// Batches over which the statistics of the batch norms are adapted to the data.
const STATISTICS_BATCHES: usize = 60;

impl Run<'_> {
    /// Computes features of the training images, in a random order and with the random changes of
    /// training. Returns their numbers and `[images, feature]`. First adapts the statistics of the
    /// batch norms to the data.
    pub(crate) fn features(
        &self,
        network: &Network,
        images: &TrainingImages<'_>,
    ) -> Result<(Vec<usize>, Tensor), ModelError> {
        let mut rng = self.random(Stage::Features, 0);
        let mut order = images.train.clone();
        order.shuffle(&mut rng);
        let mut features = |batches: Chunks<'_, usize>, count: usize, pass: Pass| {
            let plan = BatchPlan {
                pictures: images.pictures,
                batches: batches
                    .take(count)
                    .map(|numbers| (rng.random(), numbers))
                    .collect(),
                side: self.config.input_size,
                augment: Some(Augment::new(self.config.augment)),
            };
            prefetch::map_batches(plan, self.device, |batch| {
                tch::no_grad(|| network.features(&batch.images, pass))
            })
        };
        if self.config.epochs > 0 {
            let adapting = Pass {
                train: true,
                ..self.pass
            };
            let batches = order.chunks(self.config.batch_size);
            let _features = features(batches, STATISTICS_BATCHES, adapting)?;
        }
        let parts = features(order.chunks(FEATURE_BATCH), usize::MAX, self.pass)?;
        let features = Tensor::f_cat(&parts, 0)?;
        Ok((order, features))
    }
}
