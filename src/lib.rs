//! An HTTP service for image retrieval by learned hash codes. A CNN and a recurrent policy, trained
//! by REINFORCE towards hash centres, make codes of 24, 32 and 48 bits of an image; an exact index
//! finds the images whose codes are within a Hamming radius.
//!
//! Each layer imports only from the layers below it:
//!
//! ```text
//! cli                              commands
//! serve                            starts and stops a service
//! http                             routes, access control, limits
//! jobs          snapshots          background work, copies of a gallery
//! inference                        models on devices, batches, the registry
//! gallery       replica            images and their originals, the replication log
//! telemetry                        logs, metrics, traces
//! config        system             options; disk, memory, storage locations, TLS
//! ---------------------------------------------------------------------------------
//! model                            crates/model: networks, training, evaluation
//! image   index   pickle           crates/image: decoding; crates/index: codes, records, search;
//!                                  crates/pickle: PyTorch checkpoints
//! ```
//!
//! The program `scihcgrl-paper`, in the folder `paper`, repeats the experiments of the paper.

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
pub use scihcgrl_index::{self as index, code, files, priority};
pub use scihcgrl_model::{self as model, copies, eval, options, train};

/// The allocator of the process, including libtorch, because `malloc` resolves to it. Each forward
/// pass frees and allocates the same large buffers. glibc returns each buffer to the kernel and
/// faults its pages in again. If glibc is set to keep them, all threads wait for one lock.
/// `.cargo/config.toml` sets how long freed memory is kept, and [`system::memory`] sets it for the
/// threads that serve.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
