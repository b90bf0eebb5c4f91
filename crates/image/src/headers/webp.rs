//! WebP: the size in its chunks, and the memory that the prefix codes of a lossless chunk can take.

use crate::{
    headers::header::{DECODER_OVERHEAD, Header},
    types::{error::ImageError, kind::Kind},
};

/// Maximum number of bytes of memory that prefix codes take per byte of their chunk. The worst code
/// has 11 symbols in 11 bytes and becomes a table of 4096 bytes.
const MAX_CODE_EXPANSION: u64 = 400;
/// Maximum number of bytes of memory that prefix codes may take in this process. Encoders write up
/// to 2,600 groups of five codes, which take less.
const MAX_CODE_MEMORY: u64 = 64 << 20;

/// The contents of the chunks.
#[derive(Default)]
struct Chunks {
    /// The largest width and height that any chunk states: of the canvas, or of a frame that only
    /// claims to fit it.
    width: u32,
    height: u32,
    alpha: bool,
    lossless: bool,
    /// Bytes of the longest chunk that can have prefix codes.
    coded: u64,
}

impl Chunks {
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut chunks = Chunks::default();
        let mut rest = bytes.get(12..)?;
        // A frame of an animation begins with 16 bytes; chunks like those of the file follow.
        while let Some((head, body)) = rest.split_at_checked(8) {
            let length = u32::from_le_bytes(head[4..].try_into().ok()?) as usize;
            let word = |at: usize| {
                let bytes = body.get(at..at + 2)?;
                Some(u32::from(u16::from_le_bytes(bytes.try_into().ok()?)))
            };
            let side = |at: usize| {
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
                    Some((side(4)?, side(7)?))
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
                    Some((side(6)?, side(9)?))
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
        // The length in a chunk may be longer than the file.
        chunks.coded = chunks.coded.min(bytes.len() as u64);
        Some(chunks)
    }

    /// Returns true if prefix codes can take more than [`MAX_CODE_MEMORY`].
    fn codes_exceed_limit(&self) -> bool {
        self.coded * MAX_CODE_EXPANSION > MAX_CODE_MEMORY
    }
}

pub(crate) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    read(bytes).ok_or_else(|| Kind::WebP.malformed("it has no frame"))
}

/// Returns true if decoding can take more memory than [`header`] counts, because of prefix codes.
pub(crate) fn is_unbounded(bytes: &[u8]) -> bool {
    Chunks::read(bytes).is_some_and(|chunks| chunks.codes_exceed_limit())
}

/// Reads the size and the memory. Returns `None` if a chunk is cut off.
fn read(bytes: &[u8]) -> Option<Header> {
    let Chunks {
        width,
        height,
        alpha,
        lossless,
        coded,
    } = Chunks::read(bytes)?;
    let pixels = u64::from(width) * u64::from(height);
    // Lossy frames have planes of whole blocks of 16 × 16 pixels, lossless ones four channels. With
    // alpha come its plane, four channels to unpack it, and a canvas.
    let blocks = u64::from(width.next_multiple_of(16)) * u64::from(height.next_multiple_of(16));
    let planes = blocks * 3 / 2 + u64::from(width) * 64;
    let frames = match (alpha, lossless) {
        (true, _) => planes + pixels * (4 + 4 + 1),
        (false, true) => pixels * 4 + pixels,
        (false, false) => planes,
    };
    let codes = (coded * MAX_CODE_EXPANSION).min(MAX_CODE_MEMORY);
    let decoder_bytes = frames + codes + bytes.len() as u64 + DECODER_OVERHEAD;
    let pixel_bytes = if alpha { 4 } else { 3 };
    Some(Header::new(
        width,
        height,
        pixel_bytes,
        alpha,
        decoder_bytes,
    ))
}
