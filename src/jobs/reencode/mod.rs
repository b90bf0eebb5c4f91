//! Jobs that encode all originals with another model.
//!
//! - `job`: runs a job from its start to the activation
//! - `ranges`: shares the pages among workers
//! - `generation_encoder`: gives images their codes in the standby generation
//! - `encoder_thread`: the thread that runs the model

mod encoder_thread;
pub mod generation_encoder;
pub mod job;
pub mod ranges;
