//! The half of learning that runs in the service: it prepares the training set, runs the child
//! process, and adds the new model to the registry.
//!
//! - `fine_tune`, `adapt`: the two kinds of job
//! - `steps`: the steps that both share
//! - `training_set`: the images to learn from
//! - `archive`: an uploaded archive of images
//! - `child_process`: starts, follows and stops the process

pub mod adapt;
pub mod archive;
mod child_process;
pub mod fine_tune;
mod steps;
mod training_set;
