//! Tests of the program as its users run it, with real files and real servers. They are one
//! program, so that the service and libtorch are linked once.
//!
//! - `api`: requests to one service and its responses
//! - `cli`: the commands, training included
//! - `filters`: filters by payload, fields, and jobs by filter
//! - `jobs`: fine-tuning, adapting, finding duplicates, work by a filter
//! - `models`: model files, weights, and replacing the model of a gallery
//! - `page`: the page in a browser
//! - `replicas`: services that share a log
//! - `repository`: documents, manifests, scripts and dependencies
//! - `search`: order, similarity and parts of pictures
//! - `security`: damaged pictures, slow callers, requests at the limits, kills
//! - `storage`: data folders, originals, snapshots, exports, full disks, crashes

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a test are small"
)]
#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

#[path = "../server/mod.rs"]
mod server;

mod api;
mod cli;
mod filters;
mod jobs;
mod models;
mod page;
mod replicas;
mod repository;
mod search;
mod security;
mod storage;
