//! Decodes untrusted image files: finds the format by content, checks limits before it decodes, and
//! returns upright 8-bit RGB pixels, resized for a model if asked.
//!
//! ```text
//!        change              changes pictures for training and evaluation
//!          │
//!          │ decoder_process   the program that decodes, with one module per library
//!          └──┬─────┘
//!           decode           bytes to pixels: chooses the decoder of a format
//!          ┌──┴─────┐
//!         pool    resize     starts decoder processes │ resizes pictures to model inputs
//!          │        │
//!       headers     │        size and memory of a picture, from its headers alone
//!          └──┬─────┘
//!           types            formats, limits, errors, parts and inputs
//! ```
//!
//! Each folder imports only from those below it. Decoding is slow: callers choose the thread.
//!
//! ```
//! use scihcgrl_image::decode_rgb;
//!
//! let mut png = std::io::Cursor::new(Vec::new());
//! image::RgbImage::new(3, 2).write_to(&mut png, image::ImageFormat::Png)?;
//! let picture = decode_rgb(png.get_ref())?;
//! println!("{} × {} pixels", picture.width(), picture.height());
//! assert_eq!(picture.dimensions(), (3, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]

pub mod change;
mod decode;
mod decoder_process;
mod headers;
mod pool;
mod resize;
mod types;

pub use decode::{Decoded, decode, decode_part, decode_rgb, guard::ignore_decoder_panics};
pub use decoder_process::run_decoder;
pub use headers::{dimensions, required_memory};
pub use pool::{DECODER_ARGUMENT, decoder_failures, set_decoder_program};
pub use resize::resize;
pub use types::{
    error::ImageError,
    input::{Input, Pixels, Resize},
    kind::media_type,
    limits::{FORMATS, MAX_MEMORY, MAX_PIXELS, MAX_SIDE},
    part::{Part, PartError},
};
