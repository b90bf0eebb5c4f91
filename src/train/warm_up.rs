//! The first stage: the policies alone, on features that are computed once, while the backbone stands still.
//! Knows the order of that work; the step itself and the objective are its parent's.

use rand::seq::SliceRandom;
use tch::Tensor;

use super::{FEATURE_BATCH, Progress, Run, TrainError, schedule, watch::Watch};
use crate::model::{ModelError, Network, Pass};

/// Images a step, where only small products are computed.
const WARM_UP_BATCH: usize = 256;
/// Batches that the batch norms' statistics are first moved to the data by.
const STATISTICS_BATCHES: usize = 60;

impl Run<'_> {
    /// The policies alone, on features that are computed once. A recurrent policy that starts together with the backbone
    /// stalls.
    pub(super) fn warm_up(
        &mut self,
        network: &mut Network,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<(), TrainError> {
        let mut order = self.train.clone();
        order.shuffle(&mut self.rng);
        let statistics = Pass {
            train: true,
            ..self.pass
        };
        for numbers in order
            .chunks(self.config.batch_size)
            .take(STATISTICS_BATCHES)
        {
            let images = self.augmented(numbers)?;
            let _moved = tch::no_grad(|| network.features(&images, statistics))?;
        }
        let features = order
            .chunks(FEATURE_BATCH)
            .map(|numbers| {
                let images = self.augmented(numbers)?;
                tch::no_grad(|| network.features(&images, self.pass))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let features = Tensor::f_cat(&features, 0).map_err(ModelError::from)?;
        network.policy.standardise(&features)?;
        let mut optimizer = self.optimizer(network)?;
        let steps = self.config.warm_up_epochs * order.len().div_ceil(WARM_UP_BATCH);
        let mut watch = Watch::new("warm-up", self.config.warm_up_epochs, steps);
        for epoch in 1..=self.config.warm_up_epochs {
            let mut places: Vec<i64> = (0..order.len() as i64).collect();
            places.shuffle(&mut self.rng);
            for places in places.chunks(WARM_UP_BATCH) {
                let numbers: Vec<usize> =
                    places.iter().map(|&place| order[place as usize]).collect();
                let places = Tensor::f_from_slice(places).map_err(ModelError::from)?;
                let places = places.f_to_device(self.device).map_err(ModelError::from)?;
                let batch = features
                    .f_index_select(0, &places)
                    .map_err(ModelError::from)?;
                let logits = network.policy.logits(&batch)?;
                let rate = 2.0
                    * self.config.policy_rate
                    * schedule::factor(watch.step(), steps, super::RISE.min(steps / 5));
                optimizer.set_lr_group(0, 0.0);
                optimizer.set_lr_group(1, rate);
                watch.take(self.learn(&logits, &numbers, &mut optimizer)?)?;
                tell(watch.at(epoch, None));
            }
        }
        Ok(())
    }
}
