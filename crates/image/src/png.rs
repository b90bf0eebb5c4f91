//! PNG: its chunks, of which only those that make pixels are read, and files whose end or checksums are missing.
//! Knows chunks; filters and compression are the decoder's.

use std::{
    borrow::Cow,
    io::{self, Cursor, Read},
};

use ::image::{
    DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage, metadata::Orientation,
};
use flate2::read::ZlibDecoder;
use png::{ColorType, DecodeOptions, Decoder, DecodingError, Limits, Transformations};

use crate::{ImageError, MAX_BYTES, kind::Kind};

const SIGNATURE: usize = 8;
/// The last chunk: no data, and its checksum.
const END: &[u8] = b"\0\0\0\0IEND\xae\x42\x60\x82";

/// What the header says.
pub(crate) struct Info {
    pub width: u32,
    pub height: u32,
    depth: u8,
    colours: u8,
    transparent: bool,
}

impl Info {
    /// Channels, 1 to 4, and bytes of each once it is decoded. An even number of channels has alpha.
    pub(crate) fn sample_bytes(&self) -> (u64, u64) {
        let channels = match self.colours {
            0 | 4 => 1,
            _ => 3,
        };
        let alpha = self.colours >= 4 || self.transparent;
        (
            channels + u64::from(alpha),
            if self.depth == 16 { 2 } else { 1 },
        )
    }
}

struct Chunk<'a> {
    /// Where it begins in the file.
    at: usize,
    name: &'a [u8],
    /// Name and data, which the checksum is of.
    summed: &'a [u8],
    checksum: u32,
}

/// The chunks that are there whole.
fn chunks(png: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut at = SIGNATURE;
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_be_bytes(png.get(at..at + 4)?.try_into().ok()?));
        let end = (at + 8).checked_add(word(at)? as usize)?;
        let chunk = Chunk {
            at,
            name: png.get(at + 4..at + 8)?,
            summed: png.get(at + 4..end)?,
            checksum: word(end)?,
        };
        at = end + 4;
        Some(chunk)
    })
}

/// The header; none if it is not the first chunk.
pub(crate) fn info(png: &[u8]) -> Option<Info> {
    let mut chunks = chunks(png);
    let header = chunks.next().filter(|chunk| chunk.name == b"IHDR")?.summed;
    let word = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some(Info {
        width: word(4)?,
        height: word(8)?,
        depth: *header.get(12)?,
        colours: *header.get(13)?,
        transparent: chunks
            .take_while(|chunk| chunk.name != b"IDAT")
            .any(|chunk| chunk.name == b"tRNS"),
    })
}

/// Decodes a PNG, also one without its last chunk, or with wrong checksums of pixels that are whole.
pub(crate) fn decode(png: &[u8]) -> Result<(DynamicImage, Orientation), ImageError> {
    let png = ended(png);
    let mut options = DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let decoded = decode_with(&png, options.clone()).or_else(|error| {
        if !only_frames_are_wrong(&png) {
            return Err(error);
        }
        options.set_ignore_crc(true);
        decode_with(&png, options).map_err(|_| error)
    });
    decoded.map_err(|error| Kind::Png.malformed(error))
}

/// Whether no checksums are wrong but those around compressed pixels, which have one of their own that is right.
fn only_frames_are_wrong(png: &[u8]) -> bool {
    let wrong = |chunk: &Chunk| crc32fast::hash(chunk.summed) != chunk.checksum;
    let pixels = |chunk: &Chunk| chunk.name == b"IDAT";
    let compressed: Vec<u8> = chunks(png)
        .filter(pixels)
        .flat_map(|chunk| &chunk.summed[4..])
        .copied()
        .collect();
    let mut unpacked = ZlibDecoder::new(&compressed[..]).take(MAX_BYTES);
    chunks(png).filter(wrong).all(|chunk| pixels(&chunk))
        && io::copy(&mut unpacked, &mut io::sink()).is_ok()
}

/// With a last chunk, in place of one that is not whole.
fn ended(png: &[u8]) -> Cow<'_, [u8]> {
    let mut whole = SIGNATURE.min(png.len());
    for chunk in chunks(png) {
        if chunk.name == b"IEND" {
            return Cow::Borrowed(png);
        }
        whole = chunk.at + chunk.summed.len() + 8;
    }
    Cow::Owned([&png[..whole], END].concat())
}

fn decode_with(
    png: &[u8],
    options: DecodeOptions,
) -> Result<(DynamicImage, Orientation), DecodingError> {
    let mut decoder = Decoder::new_with_options(Cursor::new(png), options);
    decoder.set_limits(Limits {
        bytes: MAX_BYTES as usize,
    });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let size = reader.output_buffer_size();
    let mut pixels = vec![0; size.ok_or(DecodingError::LimitsExceeded)?];
    reader.next_frame(&mut pixels)?;
    let (colours, depth) = reader.output_color_type();
    if depth == png::BitDepth::Sixteen {
        // In place: each sample to the nearest of 8 bits.
        for at in 0..pixels.len() / 2 {
            let sample = u32::from(u16::from_be_bytes([pixels[2 * at], pixels[2 * at + 1]]));
            pixels[at] = ((sample + 128) / 257) as u8;
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
