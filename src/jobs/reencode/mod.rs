//! Jobs that encode all originals with another model.
//!
//! `job` one job from begin to activation · `ranges` shares its pages among workers ·
//! `generation_encoder` gives images their codes in the standby generation · `encoder_thread` the
//! thread that runs the model.

mod encoder_thread;
pub mod generation_encoder;
pub mod job;
pub mod ranges;
