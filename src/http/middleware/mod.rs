//! Layers around routes.
//!
//! - `auth`: keys and roles
//! - `base_path`: paths behind a proxy
//! - `connection_limit`: answers on connections over the limit
//! - `drain_body`: reads bodies to their end after an early answer
//! - `metrics`: counts requests, and the route `/metrics`
//! - `origin`: pages of other origins and foreign host names
//! - `readiness`: requests while the service is not ready
//! - `replica_position`: waits for a position of the replication log
//! - `trace`: request ids, spans and log lines

pub mod auth;
pub mod base_path;
pub mod connection_limit;
pub mod drain_body;
pub mod metrics;
pub mod origin;
pub mod readiness;
pub mod replica_position;
pub mod trace;
