//! TODO jobs::learning

pub mod adapt;
pub mod adapting;
pub mod archive;
pub mod comparison;
pub mod fine_tune;
pub mod learner;
pub mod protocol;
pub mod training_set;
pub mod tuning;
