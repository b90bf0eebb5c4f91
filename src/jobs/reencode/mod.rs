//! TODO jobs::reencode

pub mod encode;
pub mod job;
pub mod ranges;
