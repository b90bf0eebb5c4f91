//! What a training tells while it runs: how far it is, and a smoothed loss and reward.
//! Knows numbers; neither networks nor who listens.

use super::TrainError;

/// What a training tells while it runs.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// `warm-up` or `joint`.
    pub stage: &'static str,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Of how many in this stage.
    pub epochs: usize,
    /// Steps done in this stage.
    pub step: usize,
    /// Of how many.
    pub steps: usize,
    /// Loss, smoothed.
    pub loss: f64,
    /// Mean reward of sampled action sets, −1…0, smoothed.
    pub reward: f64,
    /// After an epoch: the share of validation images whose code is nearest to its own class's centre, per length.
    pub validation: Option<Vec<f64>>,
}

/// The share of the old in a smoothed value.
const KEEP: f64 = 0.98;

/// Counts steps and smooths what is told of them.
pub(super) struct Watch {
    told: Progress,
    /// A smoothed loss above this will not come down again.
    most: f64,
}

impl Watch {
    pub fn new(stage: &'static str, epochs: usize, steps: usize, most: f64) -> Self {
        let told = Progress {
            stage,
            epochs,
            steps,
            ..Progress::default()
        };
        Watch { told, most }
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.told.step
    }

    /// The smoothed loss.
    pub fn loss(&self) -> f64 {
        self.told.loss
    }

    /// Goes on after so many steps, done before a stop.
    pub fn skip(&mut self, steps: usize) {
        self.told.step = steps;
    }

    /// Takes a step's loss and reward.
    pub fn take(&mut self, (loss, reward): (f64, f64)) -> Result<(), TrainError> {
        let told = &mut self.told;
        if !loss.is_finite() {
            return Err(TrainError::Diverged {
                loss,
                step: told.step,
            });
        }
        // The first is taken as it is.
        let keep = if told.loss == 0.0 { 0.0 } else { KEEP };
        told.loss = keep * told.loss + (1.0 - keep) * loss;
        told.reward = keep * told.reward + (1.0 - keep) * reward;
        if told.loss > self.most {
            return Err(TrainError::Diverged {
                loss: told.loss,
                step: told.step,
            });
        }
        told.step += 1;
        Ok(())
    }

    pub fn at(&self, epoch: usize, validation: Option<Vec<f64>>) -> Progress {
        Progress {
            epoch,
            validation,
            ..self.told.clone()
        }
    }
}
