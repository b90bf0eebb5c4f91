//! JPEG: reads the segments before the coded data. The frame header states the size.

use crate::{
    headers::header::{DECODER_OVERHEAD, Header},
    types::{error::ImageError, kind::Kind},
};

/// The contents of the frame header and of the first scan's header.
pub(crate) struct Frame {
    /// The coding process: the last byte of the marker SOF0 to SOF15.
    process: u8,
    /// Bits per sample.
    depth: u8,
    width: u32,
    height: u32,
    /// Blocks across and down that each component has in a unit, 1 to 4 each.
    samplings: Vec<(u64, u64)>,
    /// True if rows are decoded one by one: the frame is sequential, with all components in one
    /// scan.
    in_one_scan: bool,
}

impl Frame {
    /// Names the variant if the image crate does not decode it.
    pub(crate) fn unsupported(&self) -> Option<String> {
        let process = match self.process {
            0xc3 | 0xc7 | 0xcb | 0xcf => "a lossless JPEG",
            0xc5 | 0xc6 | 0xcd | 0xce => "a hierarchical JPEG",
            0xc9 | 0xca => "an arithmetic-coded JPEG",
            _ if self.depth != 8 => {
                return Some(format!("a JPEG of {} bits per sample", self.depth));
            }
            _ if self.height == 0 => "a JPEG that states its height after the pixels",
            _ => return None,
        };
        Some(process.to_owned())
    }

    /// Returns true if libjpeg-turbo decodes the picture and the image crate does not.
    pub(crate) fn is_arithmetic(&self) -> bool {
        matches!(self.process, 0xc9 | 0xca) && self.depth == 8
    }
}

pub(crate) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let frame = frame(bytes).ok_or_else(|| Kind::Jpeg.malformed("truncated: it has no frame"))?;
    let file = bytes.len() as u64;
    let pixel_bytes = if frame.samplings.len() == 1 { 1 } else { 3 };
    let (across, down) = frame
        .samplings
        .iter()
        .fold((1, 1), |(across, down), &(h, v)| {
            (across.max(h), down.max(v))
        });
    let units = |side: u32, blocks: u64| u64::from(side).div_ceil(8 * blocks);
    let blocks: u64 = frame.samplings.iter().map(|(h, v)| h * v).sum();
    let row = units(frame.width, across) * blocks * 64 * 2;
    // Rows of coefficients, of samples and of upsampled samples. Several scans keep all
    // coefficients.
    let rows = if frame.in_one_scan {
        4
    } else {
        4 + units(frame.height, down)
    };
    Ok(Header::new(
        frame.width,
        frame.height,
        pixel_bytes,
        false,
        row * rows + 2 * file + DECODER_OVERHEAD,
    ))
}

/// Reads the first frame header. Returns `None` if the first scan comes before it.
pub(crate) fn frame(jpeg: &[u8]) -> Option<Frame> {
    let mut found = None;
    let mut rest = jpeg.get(2..)?;
    loop {
        let (marker, body, next) = segment(rest)?;
        match marker {
            // DHT, JPG and DAC lie among the markers of frames.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && found.is_none() => {
                let word = |at: usize| {
                    Some(u32::from(u16::from_be_bytes([
                        *body.get(at)?,
                        *body.get(at + 1)?,
                    ])))
                };
                let count = usize::from(*body.get(5)?);
                let components = body.get(6..6 + 3 * count)?.chunks_exact(3);
                found = Some(Frame {
                    process: marker,
                    depth: body[0],
                    height: word(1)?,
                    width: word(3)?,
                    samplings: components
                        .map(|one| {
                            (
                                u64::from(one[1] >> 4).clamp(1, 4),
                                u64::from(one[1] & 15).clamp(1, 4),
                            )
                        })
                        .collect(),
                    in_one_scan: false,
                });
            }
            0xda => {
                let mut frame = found?;
                let all = usize::from(*body.first()?) == frame.samplings.len();
                frame.in_one_scan = all && matches!(frame.process, 0xc0 | 0xc1);
                return Some(frame);
            }
            0xd9 => return None,
            _ => {}
        }
        rest = next;
    }
}

/// Returns the next marker, the bytes of its segment after the length, and the rest of the file.
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let start = bytes.windows(2).position(is_marker)?;
    let marker = bytes[start + 1];
    let rest = &bytes[start + 2..];
    if marker == 0xd9 {
        return Some((marker, &[], rest));
    }
    let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    // Skips segments as a whole, because a thumbnail in a segment has its own end marker.
    let next = rest.get(length..).unwrap_or_default();
    Some((marker, rest.get(2..length).unwrap_or_default(), next))
}

/// Returns true if two bytes are a marker. In coded data, FF is followed by 00 or is part of a
/// restart marker. FF may be repeated before a marker.
fn is_marker(pair: &[u8]) -> bool {
    pair[0] == 0xff && !matches!(pair[1], 0..=1 | 0xd0..=0xd8 | 0xff)
}

/// Returns the EXIF data, without the segment's prefix.
pub(crate) fn exif(jpeg: &[u8]) -> Option<&[u8]> {
    let mut rest = jpeg.get(2..)?;
    loop {
        let (marker, body, next) = segment(rest)?;
        match marker {
            0xe1 if body.starts_with(b"Exif\0\0") => return body.get(6..),
            0xd9 | 0xda => return None,
            _ => rest = next,
        }
    }
}

/// Returns true if an end marker follows the segments.
pub(crate) fn has_end(jpeg: &[u8]) -> bool {
    let mut rest = jpeg;
    while let Some((marker, _, next)) = segment(rest) {
        if marker == 0xd9 {
            return true;
        }
        rest = next;
    }
    false
}
