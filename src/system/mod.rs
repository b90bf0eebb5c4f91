//! What the service needs from the operating system and the network.
//!
//! - `disk`: free space and file permissions
//! - `memory`: limits and the allocator
//! - `storage`: folders and buckets
//! - `tls`: the encryption of client connections

pub mod disk;
pub mod memory;
pub mod storage;
pub mod tls;
