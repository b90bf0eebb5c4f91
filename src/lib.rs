//! Image retrieval by learned hash codes: a CNN and a recurrent policy, trained by REINFORCE towards hash centres, turn images
//! into 24-, 32- and 48-bit codes that an exact Hamming-radius index keeps and an HTTP service searches.
//!
//! Each layer imports only from those to its left, and siblings do not import each other:
//! `code, image, telemetry, priority, disk, tls, place | model, index | gallery, batch, registry, train, eval, replica | serving, copies | jobs, snapshots | http | serve | cli | main`.
//! Only `model`, `train` and `copies` name tch, only `index` and `jobs/store` name sled, only `place`, `gallery` and `snapshots` name object_store, only
//! `replica` names async_nats, only `http` and `serve` name axum.

pub mod cli;
pub mod config;
pub mod gallery;
pub mod http;
pub mod inference;
pub mod jobs;
pub mod replica;
pub mod serve;
pub mod snapshots;
pub mod system;
pub mod telemetry;

pub use scihcgrl_image as image;
pub use scihcgrl_index::{self as index, code, priority};
pub use scihcgrl_model::{copies, eval, model, options, train};

/// libtorch's too, for it takes `malloc` from here. A forward pass frees and asks again for the same large buffers, and glibc gives
/// each back to the kernel and takes its pages anew, or, told to keep them, has all threads wait for one lock. How long freed memory
/// is kept stands in `.cargo/config.toml`, and for threads that serve in [`memory`].
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
