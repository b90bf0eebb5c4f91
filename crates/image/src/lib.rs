//! Untrusted bytes to pixels: the format by content, limits before decoding, orientation, colour, size.
//! Knows nothing of models, HTTP or files; whoever calls it owns the bytes and chooses the thread, for decoding is slow.

#![deny(missing_docs)]

mod boxes;
pub mod change;
mod child;
mod decode;
mod error;
mod header;
mod input;
mod jpeg;
mod jxl;
mod kind;
mod part;
mod png;
mod process;
mod tiff;
mod webp;

use ::image::{RgbImage, imageops::crop_imm};

pub use child::decode_pictures;
pub use decode::keep_panics;
pub use error::ImageError;
use header::Header;
pub(crate) use input::scale;
pub use input::{Input, Pixels, Resize, resize};
use kind::Kind;
use part::Pane;
pub use part::{Part, PartError};
pub use process::{DECODER, decode_by, lost_decoders};

/// The formats that are read, for messages.
pub const FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF and JPEG XL";
/// The most pixels a side of a picture may have.
pub const MAX_SIDE: u32 = 20_000;
/// The most pixels a picture may have.
pub const MAX_PIXELS: u64 = 50_000_000;
/// The most bytes of memory that decoding one picture may take, by [`estimate`]: what 50 million pixels of most kinds take.
pub const MAX_BYTES: u64 = 512 << 20;

/// What [`decode()`] makes of an image file.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The square asked for.
    pub pixels: Pixels,
    /// The media type by content.
    pub media_type: &'static str,
    /// Width of the picture as it is meant to be seen, in pixels.
    pub width: u32,
    /// Height of the picture as it is meant to be seen, in pixels.
    pub height: u32,
}

/// Width and height in pixels as the header has them; none if it cannot be read.
pub fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = Header::unchecked(bytes, Kind::of(bytes).ok()?).ok()?;
    Some((header.width, header.height))
}

/// The media type of an image file, by its first bytes.
///
/// # Errors
/// [`ImageError::Empty`], [`ImageError::Format`].
pub fn media_type(bytes: &[u8]) -> Result<&'static str, ImageError> {
    Ok(Kind::of(bytes)?.media_type())
}

/// The most bytes of memory that [`decode()`], [`decode_part`] or [`decode_rgb`] takes for a picture beside the file itself, by its headers
/// alone: at most [`MAX_BYTES`]. Nothing is decoded. It is of the order of 6 to 16 bytes a pixel.
///
/// # Errors
/// What the headers tell: every [`ImageError`] but `Part` and `Resize`.
pub fn estimate(bytes: &[u8]) -> Result<u64, ImageError> {
    Ok(Header::read(bytes, Kind::of(bytes)?)?.peak)
}

/// Decodes an image file and makes a model's input of it.
///
/// # Errors
/// Every [`ImageError`] but `Part`.
pub fn decode(bytes: &[u8], input: Input) -> Result<Decoded, ImageError> {
    decode_part(bytes, input, None)
}

/// Decodes an image file and makes a model's input of a part of it, or of all. Width and height are the whole picture's.
///
/// # Errors
/// Every [`ImageError`].
pub fn decode_part(bytes: &[u8], input: Input, part: Option<Part>) -> Result<Decoded, ImageError> {
    let kind = Kind::of(bytes)?;
    let picture = decode::guarded(bytes, kind)?;
    let pixels = match part {
        None => resize(&picture, input)?,
        Some(part) => {
            let Pane {
                x,
                y,
                width,
                height,
            } = part.pane(picture.width(), picture.height())?;
            resize(&crop_imm(&picture, x, y, width, height).to_image(), input)?
        }
    };
    Ok(Decoded {
        pixels,
        media_type: kind.media_type(),
        width: picture.width(),
        height: picture.height(),
    })
}

/// Decodes an image file at its own size: the first frame, upright, over white, 8 bits a channel.
///
/// # Errors
/// Every [`ImageError`] but `Part` and `Resize`.
pub fn decode_rgb(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    decode::guarded(bytes, Kind::of(bytes)?)
}
