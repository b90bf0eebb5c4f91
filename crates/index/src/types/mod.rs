//! TODO types

pub mod config;
pub mod damage;
pub mod error;
pub mod generation;
pub mod query;
pub mod record;
pub mod revision;
pub mod sketch;
pub mod text;
