//! The first stage: the policies alone, on features that are computed once, while the backbone stands still.
//! Knows the order of that work; the step itself and the objective are its run's.

use rand::seq::SliceRandom;
use tch::{Tensor, nn::VarStore};

use super::{
    Progress, TrainError,
    flat::Flat,
    mix::blended,
    optimizer::{Optimizer, Rates},
    run::{Lesson, Run, Stage},
    schedule,
    watch::Watch,
};
use crate::model::{ModelError, Policy};

/// Images a step, where only small products are computed.
const WARM_UP_BATCH: i64 = 256;

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
        let flat = Flat::of(variables)?;
        let mut optimizer = Optimizer::new(&flat, self.config)?;
        let all: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
        let all = self.bring(&all)?;
        let per_epoch = numbers.len().div_ceil(WARM_UP_BATCH as usize);
        let steps = epochs * per_epoch;
        let mut watch = Watch::new("warm-up", epochs, steps, self.most_loss(), self.reading());
        for epoch in 1..=epochs {
            let mut rng = self.random(Stage::WarmUp, epoch);
            let mut places: Vec<i64> = (0..numbers.len() as i64).collect();
            places.shuffle(&mut rng);
            let places = self.bring(&places)?;
            for places in places.f_split(WARM_UP_BATCH, 0).map_err(ModelError::from)? {
                let of = |all: &Tensor| all.f_index_select(0, &places).map_err(ModelError::from);
                let batch = of(features)?;
                let (batch, share) = blended(&batch, self.config.mix, &mut rng)?;
                let factor = schedule::factor(self.config, watch.step(), steps, per_epoch);
                let lesson = Lesson {
                    places: of(&all)?,
                    mixed: share,
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
            watch.read()?;
        }
        Ok(())
    }
    /// Numbers on the device.
    fn bring(&self, numbers: &[i64]) -> Result<Tensor, ModelError> {
        Ok(Tensor::f_from_slice(numbers)?.f_to_device(self.device)?)
    }
}
