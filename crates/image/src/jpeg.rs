//! JPEG: its frame header, and files whose end is missing.
//! Knows markers and segments; coded data are the decoder's.

use ::image::{DynamicImage, ImageFormat, metadata::Orientation};

use crate::{
    ImageError,
    decode::through_image,
    header::Header,
    kind::Kind,
    process::{self, Library},
};

/// What a frame header and the first scan's say.
pub(crate) struct Frame {
    /// Which of JPEG's processes, by the last byte of its marker.
    process: u8,
    /// Bits a sample.
    depth: u8,
    pub width: u32,
    pub height: u32,
    /// Samples across and down that a component has in a unit, 1 to 4 each.
    pub samplings: Vec<(u64, u64)>,
    /// Whether rows can be given out as they are decoded: sequential, all components in one scan.
    pub in_one_scan: bool,
}

impl Frame {
    /// The kind, if the decoder does not know it.
    pub(crate) fn unread(&self) -> Option<String> {
        let process = match self.process {
            0xc3 | 0xc7 | 0xcb | 0xcf => "a lossless JPEG",
            0xc5 | 0xc6 | 0xcd | 0xce => "a hierarchical JPEG",
            0xc9 | 0xca => "an arithmetic-coded JPEG",
            _ if self.depth != 8 => return Some(format!("a JPEG of {} bits a sample", self.depth)),
            _ if self.height == 0 => "a JPEG that tells its height after the pixels",
            _ => return None,
        };
        Some(process.to_owned())
    }

    /// Whether it is coded arithmetically, which only libjpeg reads.
    pub(crate) fn is_arithmetic(&self) -> bool {
        matches!(self.process, 0xc9 | 0xca) && self.depth == 8
    }
}

/// The first frame header; none if there is none before the first scan.
pub(crate) fn frame(jpeg: &[u8]) -> Option<Frame> {
    let mut found = None;
    let mut rest = jpeg.get(2..)?;
    loop {
        let (marker, body, next) = segment(rest)?;
        match marker {
            // All that begin a frame but for DHT, JPG and DAC, which lie among them.
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

/// The next marker, its segment's bytes after the length, and what follows it.
fn segment(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let at = bytes.windows(2).position(is_marker)?;
    let marker = bytes[at + 1];
    let rest = &bytes[at + 2..];
    if marker == 0xd9 {
        return Some((marker, &[], rest));
    }
    let length = usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?]));
    // A segment is stepped over whole: the thumbnail inside one has an end marker of its own.
    let next = rest.get(length..).unwrap_or_default();
    Some((marker, rest.get(2..length).unwrap_or_default(), next))
}

/// Within coded data FF is followed by 00 or a restart marker, and before any marker FF may be repeated.
fn is_marker(pair: &[u8]) -> bool {
    pair[0] == 0xff && !matches!(pair[1], 0..=1 | 0xd0..=0xd8 | 0xff)
}

/// The EXIF data.
fn exif(jpeg: &[u8]) -> Option<&[u8]> {
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

/// Whether segments lead to an end marker.
fn has_end(jpeg: &[u8]) -> bool {
    let mut rest = jpeg;
    while let Some((marker, _, next)) = segment(rest) {
        if marker == 0xd9 {
            return true;
        }
        rest = next;
    }
    false
}

/// Decodes a JPEG, also one without its end marker if all its pixels are there.
pub(crate) fn decode(
    jpeg: &[u8],
    header: Header,
) -> Result<(DynamicImage, Orientation), ImageError> {
    let read = |bytes: &[u8]| through_image(bytes, Kind::Jpeg, ImageFormat::Jpeg, header);
    if let Some(frame) = frame(jpeg)
        && let Some(what) = frame.unread()
    {
        if !frame.is_arithmetic() {
            return Err(ImageError::Unsupported { what });
        }
        let picture = process::decode(Library::TurboJpeg, jpeg, Kind::Jpeg, what, header)?;
        let orientation = exif(jpeg).and_then(Orientation::from_exif_chunk);
        return Ok((
            picture.into(),
            orientation.unwrap_or(Orientation::NoTransforms),
        ));
    }
    if has_end(jpeg) {
        return read(jpeg);
    }
    // The decoder makes up what is missing and says nothing. It needed nothing that is missing if other bytes in its place change nothing.
    let followed = |by: &[u8]| read(&[jpeg, by, b"\xff\xd9"].concat());
    let found = followed(&[])?;
    let truncated =
        || Kind::Jpeg.malformed("truncated: the end marker is missing, and pixels before it");
    match followed(&[0x5a, 0xc3].repeat(32)) {
        Ok((other, _)) if other.as_bytes() == found.0.as_bytes() => Ok(found),
        _ => Err(truncated()),
    }
}
