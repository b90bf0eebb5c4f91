//! TODO http::middleware

pub mod auth;
pub mod base_path;
pub mod crowd;
pub mod linger;
pub mod metrics;
pub mod origin;
pub mod trace;
