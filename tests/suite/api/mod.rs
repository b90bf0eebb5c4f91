//! Requests to one service and its responses.
//!
//! - `serve`: storing, searching, reading, deleting, starting and stopping
//! - `bad_input`, `conditions`, `overload`: refused requests, preconditions, a full queue
//! - `keys`, `origins`, `proxied`: access control, browsers, a base path behind a proxy
//! - `contract`: openapi.yaml
//! - `observability`, `probes`: metrics, traces, the log, liveness and readiness

mod bad_input;
mod conditions;
mod contract;
mod keys;
mod observability;
mod origins;
mod overload;
mod probes;
mod proxied;
mod serve;
