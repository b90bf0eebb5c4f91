//! The command line.
//!
//! - `commands`: the commands of the README, in its order
//! - `training`: `train`: kills, options and errors

mod commands;
mod training;
