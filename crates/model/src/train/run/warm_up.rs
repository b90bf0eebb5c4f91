//! The first stage: trains only the policies, on features that are computed once. The backbone does
//! not change.

use rand::seq::SliceRandom;
use tch::{Tensor, nn::VarStore};

use crate::{
    error::ModelError,
    network::policy::Policy,
    train::{
        error::TrainError,
        optimizer::{Optimizer, Rates, flat::FlatVariables, schedule},
        progress::{Progress, tracker::ProgressTracker},
        run::{Run, Stage, StepInput, mix::mix_features},
    },
};

/// Number of images per step. It is large, because the products of this stage are small.
const WARM_UP_BATCH: i64 = 256;

impl Run<'_> {
    /// Trains policies on features `[numbers, feature]` of the images with these numbers. Without
    /// this stage, training stalls: a recurrent policy cannot start together with the backbone.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] and [`TrainError::Model`].
    pub fn warm_up(
        &self,
        variables: &VarStore,
        policy: &mut Policy,
        features: &Tensor,
        numbers: &[usize],
        report: &mut dyn FnMut(Progress),
    ) -> Result<(), TrainError> {
        policy.standardise(features)?;
        let epochs = self.config.warm_up_epochs;
        let flat = FlatVariables::of(variables)?;
        let mut optimizer = Optimizer::new(&flat, self.config)?;
        let all: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
        let all = self.bring(&all)?;
        let per_epoch = numbers.len().div_ceil(WARM_UP_BATCH as usize);
        let steps = epochs * per_epoch;
        let mut tracker = ProgressTracker::new(
            "warm-up",
            epochs,
            steps,
            self.max_loss(),
            self.read_interval(),
        );
        for epoch in 1..=epochs {
            let mut rng = self.random(Stage::WarmUp, epoch);
            let mut indices: Vec<i64> = (0..numbers.len() as i64).collect();
            indices.shuffle(&mut rng);
            let indices = self.bring(&indices)?;
            for indices in indices
                .f_split(WARM_UP_BATCH, 0)
                .map_err(ModelError::from)?
            {
                let select =
                    |all: &Tensor| all.f_index_select(0, &indices).map_err(ModelError::from);
                let batch = select(features)?;
                let (batch, share) = mix_features(&batch, self.config.mix, &mut rng)?;
                let factor = schedule::rate_factor(self.config, tracker.step(), steps, per_epoch);
                let input = StepInput {
                    indices: select(&all)?,
                    mix_share: share,
                    done: tracker.step() as f64 / steps as f64,
                    rates: Rates {
                        backbone: 0.0,
                        policy: 2.0 * factor * self.config.policy_rate,
                    },
                };
                let learned = self.learn(policy, &batch, &input, &mut optimizer);
                tracker.add(learned?)?;
                report(tracker.progress_at(epoch, None));
            }
            tracker.read()?;
        }
        Ok(())
    }

    /// Uploads numbers to the device.
    fn bring(&self, numbers: &[i64]) -> Result<Tensor, ModelError> {
        Ok(Tensor::f_from_slice(numbers)?.f_to_device(self.device)?)
    }
}
