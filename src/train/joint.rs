//! The second stage: both networks together by back-propagation, and what they are watched by on images kept from training.
//! Knows the order of that work; the step itself and the objective are its parent's.

use rand::seq::SliceRandom;
use tch::{Device, Kind, Tensor};

use super::{FEATURE_BATCH, Progress, Run, TrainError, schedule, watch::Watch};
use crate::model::{ModelError, Network, Pass};

/// What is called after an epoch: with its number and the validation shares.
pub(super) type Saved<'a> = dyn FnMut(usize, &[f64]) -> Result<(), ModelError> + 'a;

impl Run<'_> {
    /// Both networks together; `saved` is called after every epoch.
    pub(super) fn joint(
        &mut self,
        network: &Network,
        tell: &mut dyn FnMut(Progress),
        saved: &mut Saved<'_>,
    ) -> Result<(), TrainError> {
        let mut optimizer = self.optimizer(network)?;
        let pass = Pass {
            train: true,
            ..self.pass
        };
        let mut order = self.train.clone();
        // A last batch of one image has no statistics to normalise by.
        let batches = |count: usize| {
            count / self.config.batch_size + usize::from(count % self.config.batch_size > 1)
        };
        let steps = self.config.epochs * batches(order.len());
        let mut watch = Watch::new("joint", self.config.epochs, steps);
        for epoch in 1..=self.config.epochs {
            order.shuffle(&mut self.rng);
            for numbers in order
                .chunks(self.config.batch_size)
                .filter(|numbers| numbers.len() > 1)
            {
                let images = self.augmented(numbers)?;
                let logits = network.policy.logits(&network.features(&images, pass)?)?;
                let factor = schedule::factor(watch.step(), steps, super::RISE.min(steps / 5));
                optimizer.set_lr_group(0, factor * self.config.backbone_rate);
                optimizer.set_lr_group(1, factor * self.config.policy_rate);
                watch.take(self.learn(&logits, numbers, &mut optimizer)?)?;
                tell(watch.at(epoch, None));
            }
            let validation = self.validate(network)?;
            saved(epoch, &validation)?;
            tell(watch.at(epoch, Some(validation)));
        }
        Ok(())
    }

    /// Per length, the share of validation images whose code is nearest to its own class's centre.
    fn validate(&self, network: &Network) -> Result<Vec<f64>, ModelError> {
        let heads = self.centers.size3()?.0;
        let mut right = vec![0.0; heads as usize];
        for numbers in self.validation.chunks(FEATURE_BATCH) {
            let side = self.config.input_size;
            let images = self.pictures.batch(numbers, side, None, 0, self.device)?;
            let logits = tch::no_grad(|| {
                network
                    .policy
                    .logits(&network.features(&images, self.pass)?)
            })?;
            let mask = self.share.f_sign()?;
            let signs = |bits: &Tensor| bits.f_mul_scalar(2.0)?.f_add_scalar(-1.0)?.f_mul(&mask);
            let codes = signs(&logits.f_ge(0.0)?.f_to_kind(Kind::Float)?)?; // [heads, batch, bits]
            let agreement = codes.f_bmm(&signs(&self.centers)?.f_transpose(1, 2)?)?; // [heads, batch, classes]
            let nearest = agreement.f_argmax(2, false)?.f_to_device(Device::Cpu)?;
            for (head, right) in right.iter_mut().enumerate() {
                let nearest = Vec::<i64>::try_from(nearest.f_get(head as i64)?)?;
                let hits = nearest.iter().zip(numbers);
                *right += hits
                    .filter(|&(&class, &i)| self.pictures.labels[i] as i64 == class)
                    .count() as f64;
            }
        }
        Ok(right
            .iter()
            .map(|right| right / self.validation.len().max(1) as f64)
            .collect())
    }
}
