//! The size of a picture, and the memory for decoding it, from its headers alone.
//!
//! - `header`: the result and its limits
//! - the other modules: one format each; `heif` reads HEIC and AVIF
//!
//! Sizes that a header merely claims are checked here, before anything is decoded.

pub mod bmp;
pub mod gif;
pub mod header;
pub mod heif;
pub mod jpeg;
pub mod jxl;
pub mod png;
pub mod tiff;
pub mod webp;

use header::Header;

use crate::types::{error::ImageError, kind::Kind};

/// Returns the width and height in pixels that the header states. Returns `None` if the header
/// cannot be read.
pub fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = read_unchecked(bytes, Kind::of(bytes).ok()?).ok()?;
    Some((header.width, header.height))
}

/// Returns the maximum number of bytes of memory for decoding a picture, not counting the file
/// itself: at most [`MAX_MEMORY`](crate::MAX_MEMORY), and about 6 to 16 bytes per pixel for most
/// formats. Reads only headers.
///
/// # Errors
/// Every [`ImageError`] that headers can cause: all but `Part` and `Resize`.
pub fn required_memory(bytes: &[u8]) -> Result<u64, ImageError> {
    Ok(read(bytes, Kind::of(bytes)?)?.peak_memory)
}

/// Reads the headers of a picture and checks its size.
///
/// # Errors
/// [`ImageError::Malformed`], [`ImageError::Unsupported`] and [`ImageError::TooLarge`].
pub(crate) fn read(bytes: &[u8], kind: Kind) -> Result<Header, ImageError> {
    read_unchecked(bytes, kind)?.check(kind)
}

/// Reads the headers of a picture of any size.
fn read_unchecked(bytes: &[u8], kind: Kind) -> Result<Header, ImageError> {
    match kind {
        Kind::Jpeg => jpeg::header(bytes),
        Kind::Png => png::header(bytes),
        Kind::WebP => webp::header(bytes),
        Kind::Gif => gif::header(bytes),
        Kind::Bmp => bmp::header(bytes),
        Kind::Tiff => tiff::header(bytes),
        Kind::Heic | Kind::Avif => heif::header(bytes, kind),
        Kind::Jxl => jxl::header(bytes),
    }
}
