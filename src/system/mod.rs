//! TODO system

pub mod disk;
pub mod memory;
pub mod storage;
pub mod tls;
