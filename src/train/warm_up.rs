//! The first stage: the policies alone, on features that are computed once, while the backbone stands still.
//! Knows the order of that work; the step itself and the objective are its run's.

use rand::seq::SliceRandom;
use tch::{Tensor, nn::VarStore};

use super::{
    Progress, TrainError,
    mix::blended,
    optimizer::{Optimizer, Rates},
    run::{Lesson, Run, Stage},
    schedule,
    watch::Watch,
};
use crate::model::{ModelError, Policy};

/// Images a step, where only small products are computed.
const WARM_UP_BATCH: usize = 256;

impl Run<'_> {
    /// Trains policies on features, `[numbers, feature]`, of the images of some numbers. A recurrent policy that starts together
    /// with the backbone stalls.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] and [`TrainError::Model`].
    pub fn warm_up(
        &self,
        variables: &VarStore,
        policy: &mut Policy,
        features: &Tensor,
        numbers: &[usize],
        tell: &mut dyn FnMut(Progress),
    ) -> Result<(), TrainError> {
        policy.standardise(features)?;
        let epochs = self.config.warm_up_epochs;
        let mut optimizer = Optimizer::new(variables, self.config)?;
        let per_epoch = numbers.len().div_ceil(WARM_UP_BATCH);
        let steps = epochs * per_epoch;
        let mut watch = Watch::new("warm-up", epochs, steps, self.most_loss());
        for epoch in 1..=epochs {
            let mut rng = self.random(Stage::WarmUp, epoch);
            let mut places: Vec<i64> = (0..numbers.len() as i64).collect();
            places.shuffle(&mut rng);
            for places in places.chunks(WARM_UP_BATCH) {
                let numbers: Vec<_> = places
                    .iter()
                    .map(|&place| numbers[place as usize])
                    .collect();
                let places = Tensor::f_from_slice(places).map_err(ModelError::from)?;
                let places = places.f_to_device(self.device).map_err(ModelError::from)?;
                let batch = features
                    .f_index_select(0, &places)
                    .map_err(ModelError::from)?;
                let others: Vec<_> = numbers.iter().rev().copied().collect();
                let (batch, share) = blended(&batch, self.config.mix, &mut rng)?;
                let factor = schedule::factor(self.config, watch.step(), steps, per_epoch);
                let lesson = Lesson {
                    numbers: &numbers,
                    mixed: share.map(|share| (others.as_slice(), share)),
                    done: watch.step() as f64 / steps as f64,
                    rates: Rates {
                        backbone: 0.0,
                        policy: 2.0 * factor * self.config.policy_rate,
                    },
                };
                let learned = self.learn(policy, &batch, &lesson, &mut optimizer);
                watch.take(learned?)?;
                tell(watch.at(epoch, None));
            }
        }
        Ok(())
    }
}
