//! PNG: the list of its chunks, and the header in the first one.

use crate::{
    headers::header::{DECODER_OVERHEAD, Header},
    types::{error::ImageError, kind::Kind},
};

/// Bytes of the signature before the first chunk.
pub(crate) const SIGNATURE: usize = 8;

/// The contents of the header.
struct Info {
    width: u32,
    height: u32,
    depth: u8,
    colours: u8,
    transparent: bool,
}

impl Info {
    /// Returns the number of decoded channels, 1 to 4, and the bytes of each. If the number is
    /// even, alpha is included.
    fn sample_bytes(&self) -> (u64, u64) {
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

pub(crate) struct Chunk<'a> {
    /// Its offset in the file.
    pub offset: usize,
    pub name: &'a [u8],
    /// The name and the data, which the checksum covers.
    pub summed: &'a [u8],
    pub checksum: u32,
}

/// Returns the complete chunks.
pub(crate) fn chunks(png: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut offset = SIGNATURE;
    std::iter::from_fn(move || {
        let word = |offset: usize| {
            Some(u32::from_be_bytes(
                png.get(offset..offset + 4)?.try_into().ok()?,
            ))
        };
        let end = (offset + 8).checked_add(word(offset)? as usize)?;
        let chunk = Chunk {
            offset,
            name: png.get(offset + 4..offset + 8)?,
            summed: png.get(offset + 4..end)?,
            checksum: word(end)?,
        };
        offset = end + 4;
        Some(chunk)
    })
}

pub(crate) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let info = info(bytes).ok_or_else(|| Kind::Png.malformed("it has no header"))?;
    let (channels, sample_bytes) = info.sample_bytes();
    let decoder_bytes = 2 * bytes.len() as u64 + u64::from(info.width) * 32 + DECODER_OVERHEAD;
    Ok(Header::new(
        info.width,
        info.height,
        channels * sample_bytes,
        channels % 2 == 0,
        decoder_bytes,
    ))
}

/// Reads the header. Returns `None` if it is not the first chunk.
fn info(png: &[u8]) -> Option<Info> {
    let mut chunks = chunks(png);
    let header = chunks.next().filter(|chunk| chunk.name == b"IHDR")?.summed;
    let word = |offset: usize| {
        Some(u32::from_be_bytes(
            header.get(offset..offset + 4)?.try_into().ok()?,
        ))
    };
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
