//! Why bytes are not a picture, or not one that is read: one error for the crate.
//! Knows the words; what leads to them is found elsewhere.

use crate::{FORMATS, MAX_BYTES, MAX_PIXELS, MAX_SIDE, PartError};

/// Why bytes are not a picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No bytes at all.
    #[error("the image has no bytes")]
    Empty,
    /// Not an image, or of a format that is not read.
    #[error("{found} is not an image format that is read; the formats are {FORMATS}")]
    Format {
        /// What it looks like.
        found: &'static str,
    },
    /// Of a format that is read, but of a kind that is not.
    #[error("{what} cannot be read; save the picture as JPEG or PNG")]
    Unsupported {
        /// The kind, such as "a TIFF with palette colours".
        what: String,
    },
    /// Of a known format, but broken.
    #[error("the {format} image cannot be decoded: {source}")]
    Malformed {
        /// The media type by content.
        format: &'static str,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More pixels than are decoded, however few bytes they come in.
    #[error(
        "the image is {width} × {height} pixels and takes {megabytes} MB to decode; at most {MAX_SIDE} pixels a side, \
         {MAX_PIXELS} pixels in all and {} MB are allowed",
        MAX_BYTES / 1_000_000
    )]
    TooLarge {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// Memory that decoding would take, in millions of bytes.
        megabytes: u64,
    },
    /// The part asked for has no pixels.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The picture cannot be brought to the size asked for.
    #[error("the image cannot be resized: {0}")]
    Resize(#[source] Box<dyn std::error::Error + Send + Sync>),
}
