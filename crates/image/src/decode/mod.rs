//! Decodes a picture as it is meant to be seen: upright, over white, with 8 bits per channel.
//!
//! - `jpeg`, `png`, `tiff`, `webp`: choose the decoder of a format, and accept files with small,
//!   common faults
//! - `image_crate`: decodes with the image crate
//! - `orientation`: reads how a picture must be turned
//! - `guard`: catches panics of decoders

pub mod guard;
pub mod image_crate;
pub mod jpeg;
pub mod orientation;
pub mod png;
pub mod tiff;
pub mod webp;

use ::image::{DynamicImage, ImageFormat, RgbImage, imageops::crop_imm, metadata::Orientation};

use crate::{
    headers,
    pool::{self, protocol::Library},
    resize::resize,
    types::{
        alpha::Alpha,
        error::ImageError,
        input::{Input, Pixels},
        kind::Kind,
        part::{Part, PixelRect},
    },
};

/// A decoded image file, resized for a model.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The model's input.
    pub pixels: Pixels,
    /// The media type, determined by content.
    pub media_type: &'static str,
    /// Width of the upright picture in pixels.
    pub width: u32,
    /// Height of the upright picture in pixels.
    pub height: u32,
}

/// Decodes an image file and resizes it to a model's input.
///
/// # Errors
/// Every [`ImageError`] but `Part`.
pub fn decode(bytes: &[u8], input: Input) -> Result<Decoded, ImageError> {
    decode_part(bytes, input, None)
}

/// Decodes an image file and resizes it, or a part of it, to a model's input. The returned width
/// and height are those of the whole picture.
///
/// # Errors
/// Every [`ImageError`].
pub fn decode_part(bytes: &[u8], input: Input, part: Option<Part>) -> Result<Decoded, ImageError> {
    let kind = Kind::of(bytes)?;
    let picture = guard::catch_panics(kind, || decode_upright(bytes, kind))?;
    let pixels = match part {
        None => resize(&picture, input)?,
        Some(part) => {
            let PixelRect {
                x,
                y,
                width,
                height,
            } = part.in_pixels(picture.width(), picture.height())?;
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

/// Decodes an image file at its own size: the first frame, upright, over white, with 8 bits per
/// channel.
///
/// # Errors
/// Every [`ImageError`] but `Part` and `Resize`.
pub fn decode_rgb(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    let kind = Kind::of(bytes)?;
    guard::catch_panics(kind, || decode_upright(bytes, kind))
}

fn decode_upright(bytes: &[u8], kind: Kind) -> Result<RgbImage, ImageError> {
    let header = headers::read(bytes, kind)?;
    let mut alpha = Alpha::Straight;
    let (mut picture, orientation) = match kind {
        Kind::Jpeg => jpeg::decode(bytes, header)?,
        Kind::Png => png::decode(bytes)?,
        Kind::WebP => webp::decode(bytes, header)?,
        Kind::Gif => image_crate::decode(bytes, kind, ImageFormat::Gif, header)?,
        Kind::Bmp => image_crate::decode(bytes, kind, ImageFormat::Bmp, header)?,
        Kind::Tiff => {
            let (picture, orientation, of_tiff) = tiff::decode(bytes, header)?;
            alpha = of_tiff;
            (picture, orientation)
        }
        Kind::Heic | Kind::Avif | Kind::Jxl => {
            let (library, name) = match kind {
                Kind::Heic => (Library::Heif, "a HEIC picture"),
                Kind::Avif => (Library::Heif, "an AVIF picture"),
                _ => (Library::Jxl, "a JPEG XL picture"),
            };
            let picture = pool::decode(library, bytes, kind, name.to_owned(), header)?;
            (picture.into(), Orientation::NoTransforms)
        }
    };
    // Programs that do not support alpha leave 0 in the fourth byte of a BMP's pixels.
    if let (Kind::Bmp, DynamicImage::ImageRgba8(pixels)) = (kind, &mut picture)
        && pixels.pixels().all(|pixel| pixel.0[3] == 0)
    {
        pixels.pixels_mut().for_each(|pixel| pixel.0[3] = 255);
    }
    let mut picture = DynamicImage::ImageRgb8(alpha.flatten(picture));
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}
