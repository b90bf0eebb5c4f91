//! [`TrainError`]: the errors that stop a training.

use std::path::PathBuf;

use crate::{error::ModelError, options::OptionError};

/// An error that stops a training.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model or libtorch failed.
    #[error(transparent)]
    Model {
        /// The model's error.
        #[from]
        source: ModelError,
    },
    /// The data set is unusable.
    #[error("{} is not a data set: {reason}", path.display())]
    Data {
        /// Path of the data set.
        path: PathBuf,
        /// The fault, and what would be right.
        reason: String,
    },
    /// The loss is not a number, or is too large to recover.
    #[error("the loss became {loss} at step {step}; a lower learning rate may help")]
    Diverged {
        /// The loss, smoothed unless it is not a number.
        loss: f64,
        /// The step of that loss, from 0.
        step: usize,
    },
    /// Too few images to learn without labels.
    #[error("{found} images can be read; at least {min} are needed to learn without labels")]
    TooFewImages {
        /// The number of images that can be read.
        found: usize,
        /// The minimum number of images.
        min: usize,
    },
    /// An option has an invalid value, or does not fit the others.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The state next to the checkpoint belongs to an unfinished training with other options.
    #[error(
        "{} is the state of an unfinished training with {difference}; give the same options to resume it, or --restart to discard it",
        path.display()
    )]
    OtherOptions {
        /// Path of the state.
        path: PathBuf,
        /// The first option that differs, in words.
        difference: String,
    },
}
