//! The tests of the whole: each module is what a kind of user does, to the program itself, with real files and real servers. They are one
//! program, so that the service and libtorch are linked once.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

#[path = "../server/mod.rs"]
mod server;

mod bad_input;
mod base_images;
mod boxes;
mod browser;
mod cli;
mod cluster;
mod conditions;
mod contract;
mod crashes;
mod decoders;
mod demo;
mod dependencies;
mod duplicates;
mod exports;
mod full_disk;
mod gpu_pack;
mod hostile;
mod keys;
mod kubernetes;
mod learning;
mod models;
mod observed;
mod operations;
mod originals;
mod origins;
mod outsiders;
mod overload;
mod parity;
mod probes;
mod proxied;
mod readme;
mod serve;
mod similarity;
mod snapshots;
mod training;
mod upgrades;
mod weights;
