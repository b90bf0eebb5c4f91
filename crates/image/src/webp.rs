//! WebP: what its chunks say of size and memory, and where it is decoded.
//! Knows chunks and how large the prefix codes of a lossless one can get; pixels are the image crate's.

use std::io::Cursor;

use ::image::{
    DynamicImage, ImageDecoder, ImageFormat, codecs::webp::WebPDecoder, metadata::Orientation,
};

use crate::{
    ImageError,
    decode::through_image,
    header::{Header, WORKING},
    kind::Kind,
    process::{self, Library},
};

/// Bytes that a lossless chunk's prefix codes have in memory for each byte of the chunk, at most: a code of 11 symbols is 11 bytes long and
/// becomes a table of 4096.
const EXPANSION: u64 = 400;
/// The most bytes that prefix codes may have in memory. Encoders make up to 2,600 groups of five codes, which is less.
const CODES: u64 = 64 << 20;

/// What the chunks say.
#[derive(Default)]
struct Chunks {
    /// Of the largest frame of any: the canvas, what is shown first, and what only claims to fit there.
    width: u32,
    height: u32,
    alpha: bool,
    lossless: bool,
    /// Bytes of the longest chunk that may have prefix codes.
    coded: u64,
}

impl Chunks {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut chunks = Chunks::default();
        let mut rest = bytes.get(12..)?;
        // A frame of an animation begins with 16 bytes and then has chunks like the file's own.
        while let Some((head, body)) = rest.split_at_checked(8) {
            let length = u32::from_le_bytes(head[4..].try_into().ok()?) as usize;
            let word = |at: usize| {
                let bytes = body.get(at..at + 2)?;
                Some(u32::from(u16::from_le_bytes(bytes.try_into().ok()?)))
            };
            let three = |at: usize| {
                let bytes = body.get(at..at + 3)?;
                Some(
                    1 + (u32::from(bytes[0])
                        | u32::from(bytes[1]) << 8
                        | u32::from(bytes[2]) << 16),
                )
            };
            let mut step = length + length % 2;
            let size = match &head[..4] {
                b"VP8X" => {
                    chunks.alpha |= body.first()? & 0x10 != 0;
                    Some((three(4)?, three(7)?))
                }
                b"VP8 " => Some((word(6)? & 0x3fff, word(8)? & 0x3fff)),
                b"VP8L" => {
                    let bits = u32::from_le_bytes(body.get(1..5)?.try_into().ok()?);
                    chunks.lossless = true;
                    chunks.coded = chunks.coded.max(length as u64);
                    chunks.alpha |= bits >> 28 & 1 != 0;
                    Some((1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff)))
                }
                b"ANMF" => {
                    chunks.alpha = true;
                    step = 16;
                    Some((three(6)?, three(9)?))
                }
                b"ALPH" => {
                    chunks.alpha = true;
                    chunks.coded = chunks.coded.max(length as u64);
                    None
                }
                _ => None,
            };
            if let Some((width, height)) = size {
                chunks.width = chunks.width.max(width);
                chunks.height = chunks.height.max(height);
            }
            rest = body.get(step..).unwrap_or_default();
        }
        // A chunk cannot be longer than its file, whatever it says.
        chunks.coded = chunks.coded.min(bytes.len() as u64);
        Some(chunks)
    }

    /// Whether prefix codes may take more memory than they may have.
    fn is_unbounded(&self) -> bool {
        self.coded * EXPANSION > CODES
    }
}

/// The size of the picture, and the memory that decoding it takes; none if a chunk is cut off.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    let Chunks {
        width,
        height,
        alpha,
        lossless,
        coded,
    } = Chunks::read(bytes)?;
    let pixels = u64::from(width) * u64::from(height);
    // Planes of whole blocks of 16, or four channels; with alpha its plane, four channels to unpack it, and a canvas.
    let blocks = u64::from(width.next_multiple_of(16)) * u64::from(height.next_multiple_of(16));
    let planes = blocks * 3 / 2 + u64::from(width) * 64;
    let working = match (alpha, lossless) {
        (true, _) => planes + pixels * (4 + 4 + 1),
        (false, true) => pixels * 4 + pixels,
        (false, false) => planes,
    };
    let working = working + (coded * EXPANSION).min(CODES) + bytes.len() as u64 + WORKING;
    let native = if alpha { 4 } else { 3 };
    Some(Header::new(width, height, native, alpha, working))
}

/// Decodes a picture: in another process, whose memory is limited, if its prefix codes may take more than its header counts.
pub(crate) fn decode(
    bytes: &[u8],
    header: Header,
) -> Result<(DynamicImage, Orientation), ImageError> {
    let malformed = |error| Kind::WebP.malformed(error);
    if !Chunks::read(bytes).is_some_and(|chunks| chunks.is_unbounded()) {
        return decode_here(bytes, header);
    }
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(malformed)?;
    let what = "a lossless WebP picture of so many bytes".to_owned();
    let picture = process::decode(Library::WebP, bytes, Kind::WebP, what, header)?;
    Ok((picture.into(), orientation(&mut decoder)))
}

/// Decodes a picture in this process.
pub(crate) fn decode_here(
    bytes: &[u8],
    header: Header,
) -> Result<(DynamicImage, Orientation), ImageError> {
    through_image(bytes, Kind::WebP, ImageFormat::WebP, header)
}

/// Some programs begin the EXIF chunk as JPEG's segment begins.
pub(crate) fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    let exif = decoder.exif_metadata().ok().flatten().unwrap_or_default();
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif))
        .unwrap_or(Orientation::NoTransforms)
}
