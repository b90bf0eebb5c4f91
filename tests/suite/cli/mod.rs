//! The command line.
//!
//! - `commands`: the commands of the README, in its order
//! - `filters`: the commands about fields and filters
//! - `training`: `train`: kills, options and errors

mod commands;
mod filters;
mod training;
