//! Changes that turn a picture into a copy of it: compressed, scaled, cropped, recoloured,
//! captioned or framed. Training and evaluation use the same changes.
//!
//! - `kind`: the changes
//! - `apply`: applies them
//! - `paint`: draws on pictures
//! - `random`: draws random changes for training
//! - `copies`: the fixed copies of the evaluation

mod apply;
mod copies;
mod kind;
mod paint;
mod random;

pub use apply::apply_all;
pub use copies::EVALUATION_COPIES;
pub use kind::{BLUR_REFERENCE_SIDE, Change};
pub use random::apply_random;

#[cfg(test)]
mod tests;
