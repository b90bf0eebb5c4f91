//! What a training tells while it runs: how far it is, and a smoothed loss and reward.
//! Knows numbers; neither networks nor who listens.

use tch::Tensor;

use super::TrainError;
use crate::model::ModelError;

/// What a training tells while it runs.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// `features`, `warm-up` or `joint`.
    pub stage: &'static str,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Of how many in this stage.
    pub epochs: usize,
    /// Steps done in this stage.
    pub step: usize,
    /// Of how many.
    pub steps: usize,
    /// Loss, smoothed; on a GPU as of up to 16 steps ago, and 0 before the first reading.
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
    /// Loss and reward of the last steps, not yet read.
    unread: Vec<Tensor>,
    /// Steps between two readings. Each waits for the device.
    every: usize,
}

impl Watch {
    pub fn new(stage: &'static str, epochs: usize, steps: usize, most: f64, every: usize) -> Self {
        let told = Progress {
            stage,
            epochs,
            steps,
            ..Progress::default()
        };
        Watch {
            told,
            most,
            unread: Vec::new(),
            every,
        }
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

    /// Takes a step's loss and reward, `[2]`.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], possibly for an earlier step, and [`TrainError::Model`].
    pub fn take(&mut self, learned: Tensor) -> Result<(), TrainError> {
        self.told.step += 1;
        self.unread.push(learned);
        match self.unread.len() >= self.every {
            true => self.read(),
            false => Ok(()),
        }
    }

    /// Reads what has been taken.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn read(&mut self) -> Result<(), TrainError> {
        let unread = std::mem::take(&mut self.unread);
        if unread.is_empty() {
            return Ok(());
        }
        let first = self.told.step - unread.len();
        for (step, (loss, reward)) in (first..).zip(pairs(&unread)?) {
            let told = &mut self.told;
            if !loss.is_finite() {
                return Err(TrainError::Diverged { loss, step });
            }
            // The first is taken as it is.
            let keep = if told.loss == 0.0 { 0.0 } else { KEEP };
            told.loss = keep * told.loss + (1.0 - keep) * loss;
            told.reward = keep * told.reward + (1.0 - keep) * reward;
            if told.loss > self.most {
                let loss = told.loss;
                return Err(TrainError::Diverged { loss, step });
            }
        }
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

/// Losses and rewards, in one reading.
fn pairs(unread: &[Tensor]) -> Result<Vec<(f64, f64)>, ModelError> {
    let values = Tensor::f_cat(unread, 0)?.f_to_kind(tch::Kind::Double)?;
    let values = Vec::<f64>::try_from(values.f_to_device(tch::Device::Cpu)?)?;
    Ok(values
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect())
}
