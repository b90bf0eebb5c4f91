//! Decodes untrusted image files: finds the format by content, checks limits before it decodes, and
//! returns upright 8-bit RGB pixels, resized for a model if asked.
//!
//! ```text
//!        change              changes pictures for training and evaluation
//!          │
//!          │      child      the program of a decoder process, with a module a library
//!          └──┬─────┘
//!           decode           bytes to pixels: chooses the decoder of a format
//!          ┌──┴─────┐
//!       process   resize     starts decoder processes │ resizes pictures to model inputs
//!          │        │
//!       headers     │        size and memory of a picture, from its headers alone
//!          └──┬─────┘
//!           types            formats, limits, errors, parts and inputs
//! ```
//!
//! Each folder imports only from those below it. Decoding is slow: callers choose the thread.

#![deny(missing_docs)]

pub mod change;
mod child;
mod decode;
mod headers;
mod process;
mod resize;
mod types;

pub use child::run_decoder;
pub use decode::{Decoded, decode, decode_part, decode_rgb, guard::ignore_decoder_panics};
pub use headers::{dimensions, required_memory};
pub use process::{DECODER_ARGUMENT, decoder_failures, set_decoder_program};
pub use resize::resize;
pub use types::{
    error::ImageError,
    input::{Input, Pixels, Resize},
    kind::media_type,
    limits::{FORMATS, MAX_MEMORY, MAX_PIXELS, MAX_SIDE},
    part::{Part, PartError},
};
