//! The crate's error, with the texts that clients read.

use crate::types::{
    limits::{FORMATS, MAX_MEMORY, MAX_PIXELS, MAX_SIDE},
    part::PartError,
};

/// The reason why a file was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file is empty.
    #[error("the image has no bytes")]
    Empty,
    /// The file is not an image, or its format is not supported.
    #[error("{found} is not a supported image format; the formats are {FORMATS}")]
    Format {
        /// The kind of file that its first bytes indicate.
        found: &'static str,
    },
    /// The format is supported, but not this variant of it.
    #[error("{what} cannot be read; save the picture as JPEG or PNG")]
    Unsupported {
        /// The variant, such as "a TIFF with palette colours".
        what: String,
    },
    /// The format is known, but the file is broken.
    #[error("the {format} image cannot be decoded: {source}")]
    Malformed {
        /// The media type, determined by content.
        format: &'static str,
        /// The decoder's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The picture is larger than [`MAX_SIDE`], [`MAX_PIXELS`] or [`MAX_MEMORY`] allow.
    #[error(
        "the image is {width} × {height} pixels and takes {megabytes} MB to decode; at most {MAX_SIDE} pixels per side, \
         {MAX_PIXELS} pixels in all and {} MB are allowed",
        MAX_MEMORY / 1_000_000
    )]
    TooLarge {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// Memory that decoding would take, in millions of bytes.
        megabytes: u64,
    },
    /// The requested part has no pixels.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The picture cannot be resized.
    #[error("the image cannot be resized: {0}")]
    Resize(#[source] Box<dyn std::error::Error + Send + Sync>),
}
