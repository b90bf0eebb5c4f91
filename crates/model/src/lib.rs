//! The SCIHCGRL model: a convolutional backbone whose feature feeds one recurrent policy per code
//! length. Contains networks, checkpoints, training and evaluation, but no gallery and no HTTP.
//!
//! ```text
//!            copies                how well copies and kin of images are found
//!              │
//!             eval                 retrieval quality of codes
//!         ┌────┴────┐
//!      hasher     train            images to codes and sketches │ data sets and training
//!         └────┬────┘
//!       ┌──────┴──────┐
//!   checkpoint      device         model files │ CPU, CUDA and number types
//!       │             │
//!    network          │            backbones, policies, sketches: the forward pass
//!    ┌──┴───┐         │
//!  card  centers      │            the description of a model │ hash centres
//!    └──┬───┘         │
//!    options, error ──┘            every option of training and computing │ what can go wrong
//! ```

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "libtorch counts in i64; sizes of images, batches and layers are far below its limit"
)]
#![deny(missing_docs)]

mod card;
pub mod centers;
pub mod checkpoint;
pub mod copies;
mod device;
mod error;
pub mod eval;
mod hasher;
pub mod network;
pub mod options;
pub mod train;

pub use card::{Card, Relation, Thresholds};
pub use device::{device, devices, is_cpu, kind, preferred_precision, resolve_devices};
pub use error::ModelError;
pub use hasher::{Hasher, Output, codes};
pub use network::{
    Network,
    backbone::Pass,
    environment::Environment,
    policy::{Choice, Policy, Unrolled},
    sketcher::{Sketcher, TONES},
};

/// The device that a model computes on.
pub use tch::Device;
