//! Models and their files.
//!
//! - `files`: models sent to a service, and refused ones
//! - `parity`: the backbones against PyTorch
//! - `replacement`: replacing the model of a gallery
//! - `weights`: published weights and files of `torch.save`

mod files;
mod parity;
mod replacement;
mod weights;
