//! Decodes PNG with the png crate. Accepts a wrong end or wrong checksums if all pixels are there.

use std::{
    borrow::Cow,
    io::{self, Cursor, Read},
};

use ::image::{
    DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage, metadata::Orientation,
};
use flate2::read::ZlibDecoder;
use png::{ColorType, DecodeOptions, Decoder, DecodingError, Limits, Transformations};

use crate::{
    headers::png::{Chunk, SIGNATURE, chunks},
    types::{error::ImageError, kind::Kind, limits::MAX_MEMORY},
};

/// The last chunk: no data, and its checksum.
const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// Decodes a PNG. Accepts one without its last chunk, and one with wrong checksums around intact
/// pixels.
pub(crate) fn decode(png: &[u8]) -> Result<(DynamicImage, Orientation), ImageError> {
    let png = with_end(png);
    let mut options = DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let decoded = decode_with(&png, options.clone()).or_else(|error| {
        if !pixels_are_intact(&png) {
            return Err(error);
        }
        options.set_ignore_crc(true);
        decode_with(&png, options).map_err(|_| error)
    });
    decoded.map_err(|error| Kind::Png.malformed(error))
}

/// Returns true if all wrong checksums belong to chunks of compressed pixels whose own checksum,
/// inside the compressed data, is right.
fn pixels_are_intact(png: &[u8]) -> bool {
    let wrong = |chunk: &Chunk| crc32fast::hash(chunk.summed) != chunk.checksum;
    let pixels = |chunk: &Chunk| chunk.name == b"IDAT";
    let compressed: Vec<u8> = chunks(png)
        .filter(pixels)
        .flat_map(|chunk| &chunk.summed[4..])
        .copied()
        .collect();
    let mut unpacked = ZlibDecoder::new(&compressed[..]).take(MAX_MEMORY);
    chunks(png).filter(wrong).all(|chunk| pixels(&chunk))
        && io::copy(&mut unpacked, &mut io::sink()).is_ok()
}

/// Adds the last chunk if it is missing or cut off.
fn with_end(png: &[u8]) -> Cow<'_, [u8]> {
    let mut complete = SIGNATURE.min(png.len());
    for chunk in chunks(png) {
        if chunk.name == b"IEND" {
            return Cow::Borrowed(png);
        }
        complete = chunk.offset + chunk.summed.len() + 8;
    }
    Cow::Owned([&png[..complete], END].concat())
}

fn decode_with(
    png: &[u8],
    options: DecodeOptions,
) -> Result<(DynamicImage, Orientation), DecodingError> {
    let mut decoder = Decoder::new_with_options(Cursor::new(png), options);
    decoder.set_limits(Limits {
        bytes: usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX),
    });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let size = reader.output_buffer_size();
    let mut pixels = vec![0; size.ok_or(DecodingError::LimitsExceeded)?];
    reader.next_frame(&mut pixels)?;
    let (colours, depth) = reader.output_color_type();
    if depth == png::BitDepth::Sixteen {
        // Rounds each sample to 8 bits, in place.
        for at in 0..pixels.len() / 2 {
            let sample = u32::from(u16::from_be_bytes([pixels[2 * at], pixels[2 * at + 1]]));
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a sample is at most 65,535, which becomes 255"
            )]
            let byte = ((sample + 128) / 257) as u8;
            pixels[at] = byte;
        }
        pixels.truncate(pixels.len() / 2);
    }
    let (width, height) = reader.info().size();
    let picture = match colours {
        ColorType::Grayscale => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        ColorType::GrayscaleAlpha => {
            GrayAlphaImage::from_raw(width, height, pixels).map(DynamicImage::from)
        }
        ColorType::Rgb => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        ColorType::Rgba => RgbaImage::from_raw(width, height, pixels).map(DynamicImage::from),
        ColorType::Indexed => None,
    };
    let picture = picture.ok_or(DecodingError::LimitsExceeded)?;
    let exif = reader.info().exif_metadata.as_deref();
    let orientation = exif.and_then(Orientation::from_exif_chunk);
    Ok((picture, orientation.unwrap_or(Orientation::NoTransforms)))
}
