//! Files of the repository other than the program's code.
//!
//! - `demo`, `readme`: samples/demo.sh, the models and the commands of README.md
//! - `operations`: docs/operations.md, the Docker files and the alerts
//! - `kubernetes`, `base_images`: k8s/ and docker/base.sh
//! - `dependencies`: Cargo.lock, deny.toml and wheels/
//! - `layers`: imports of the crates and the page's JavaScript
//! - `gpu_pack`: benches/gpu

mod base_images;
mod demo;
mod dependencies;
mod gpu_pack;
mod kubernetes;
mod layers;
mod operations;
mod readme;
