//! Counts steps and smooths the loss and the reward.

use tch::Tensor;

use crate::{
    error::ModelError,
    train::{error::TrainError, progress::Progress},
};

/// The share of the old value in a smoothed value.
const SMOOTHING: f64 = 0.98;

/// Counts steps and smooths the loss and the reward.
pub(crate) struct ProgressTracker {
    progress: Progress,
    /// If the smoothed loss exceeds this, the training has diverged.
    max_loss: f64,
    /// Loss and reward of the last steps, not read yet.
    pending: Vec<Tensor>,
    /// Steps between two readings; each waits for the device.
    read_interval: usize,
}

impl ProgressTracker {
    pub fn new(
        stage: &'static str,
        epochs: usize,
        steps: usize,
        max_loss: f64,
        read_interval: usize,
    ) -> Self {
        let progress = Progress {
            stage,
            epochs,
            steps,
            ..Progress::default()
        };
        ProgressTracker {
            progress,
            max_loss,
            pending: Vec::new(),
            read_interval,
        }
    }

    /// Returns the number of steps done.
    pub fn step(&self) -> usize {
        self.progress.step
    }

    /// Returns the smoothed loss.
    pub fn loss(&self) -> f64 {
        self.progress.loss
    }

    /// Continues the count after steps that were done before the training was stopped.
    pub fn resume_at(&mut self, steps: usize) {
        self.progress.step = steps;
    }

    /// Adds a step's loss and reward, `[2]`.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], possibly for an earlier step, and [`TrainError::Model`].
    pub fn add(&mut self, learned: Tensor) -> Result<(), TrainError> {
        self.progress.step += 1;
        self.pending.push(learned);
        if self.pending.len() >= self.read_interval {
            self.read()
        } else {
            Ok(())
        }
    }

    /// Reads all pending losses and rewards.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn read(&mut self) -> Result<(), TrainError> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        let first = self.progress.step - pending.len();
        for (step, (loss, reward)) in (first..).zip(pairs(&pending)?) {
            let progress = &mut self.progress;
            if !loss.is_finite() {
                return Err(TrainError::Diverged { loss, step });
            }
            // The first value is not smoothed.
            let keep = if progress.loss == 0.0 { 0.0 } else { SMOOTHING };
            progress.loss = keep * progress.loss + (1.0 - keep) * loss;
            progress.reward = keep * progress.reward + (1.0 - keep) * reward;
            if progress.loss > self.max_loss {
                let loss = progress.loss;
                return Err(TrainError::Diverged { loss, step });
            }
        }
        Ok(())
    }

    pub fn progress_at(&self, epoch: usize, validation: Option<Vec<f64>>) -> Progress {
        Progress {
            epoch,
            validation,
            ..self.progress.clone()
        }
    }
}

/// Reads losses and rewards from the device at once.
fn pairs(pending: &[Tensor]) -> Result<Vec<(f64, f64)>, ModelError> {
    let values = Tensor::f_cat(pending, 0)?.f_to_kind(tch::Kind::Double)?;
    let values = Vec::<f64>::try_from(values.f_to_device(tch::Device::Cpu)?)?;
    Ok(values
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect())
}
