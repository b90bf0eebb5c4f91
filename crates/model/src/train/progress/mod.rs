//! How far a training is.
//!
//! - `tracker`: counts steps and smooths losses
//! - `display`: shows them on a terminal or in the log

mod display;
pub(crate) mod tracker;

pub use display::ProgressDisplay;

/// How far a training is, with its loss and reward.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// `features`, `warm-up` or `joint`.
    pub stage: &'static str,
    /// The epoch, from 1.
    pub epoch: usize,
    /// Epochs of this stage.
    pub epochs: usize,
    /// Steps done in this stage.
    pub step: usize,
    /// Steps of this stage.
    pub steps: usize,
    /// Smoothed loss. On a GPU it is up to 16 steps old. It is 0 before the first reading.
    pub loss: f64,
    /// Smoothed mean reward of sampled action sets, −1…0.
    pub reward: f64,
    /// After an epoch: for each length, the share of validation images whose code is nearest to the
    /// centre of its own class.
    pub validation: Option<Vec<f64>>,
}
