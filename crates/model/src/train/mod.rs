//! Training: hash centres, a warm-up of the policies on fixed features, then both networks
//! together.
//!
//! - `check`: checks of options
//! - `labelled`: trains on labelled images
//! - `unlabelled`: trains without labels
//! - `run`: the stages, and the step that they share
//! - `objective`: losses
//! - `optimizer`: steps and learning rates
//! - `data`: data sets and batches
//! - `card`: the new model's card
//! - `inherit`: parents and teachers
//! - `resume`: the state of an unfinished training
//! - `progress`: figures and their display
//! - `error`: errors that stop a training

mod card;
pub mod check;
pub mod data;
mod error;
mod inherit;
mod labelled;
pub mod objective;
mod optimizer;
mod progress;
mod resume;
mod run;
pub mod unlabelled;

pub use card::card;
pub use error::TrainError;
pub use labelled::{train, train_on};
pub use progress::{Progress, ProgressDisplay};
pub use run::Run;
