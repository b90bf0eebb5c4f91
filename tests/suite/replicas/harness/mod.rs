//! Helpers of the tests of replicas.
//!
//! - `cluster`: replicas on NATS servers
//! - `nats`: NATS servers, and proxies to them that can be cut
//! - `caller`: a client that writes at random
//! - `history`: the writes and the states that they allow

pub mod caller;
pub mod cluster;
pub mod history;
pub mod nats;
