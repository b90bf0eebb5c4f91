//! TIFF: the tags of the first directory, and which decoder can read the picture that they
//! describe.

use std::ops::Range;

use crate::{
    headers::header::{DECODER_OVERHEAD, Header},
    types::{error::ImageError, kind::Kind},
};

/// Maximum number of directory entries that are read. A picture has about twenty.
const MAX_ENTRIES: u64 = 4096;

/// The tags of a picture that matter for decoding, with TIFF's own numbers.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    /// True if offsets have 8 bytes, as in BigTIFF.
    big: bool,
    pub width: u32,
    pub height: u32,
    /// Bits per sample.
    pub bits: u64,
    /// Samples per pixel.
    pub samples: u64,
    compression: u64,
    pub photometric: u64,
    fill_order: u64,
    /// True if each channel is stored separately.
    pub planar: bool,
    /// Width and height of its tiles, if it has tiles.
    pub tile: Option<(u32, u32)>,
    orientation: u64,
    /// 1 for unsigned samples, 2 for signed, 3 for floating-point.
    pub format: u64,
    /// 1 if colours are multiplied by alpha, 2 if they are not.
    pub extra: Option<u64>,
}

impl Directory {
    /// Reads the first directory.
    ///
    /// # Errors
    /// [`ImageError::Malformed`] if there is no directory, or it has no size.
    pub(crate) fn read(tiff: &[u8]) -> Result<Self, ImageError> {
        let tags = Tags::of(tiff).ok_or_else(|| Kind::Tiff.malformed("it has no directory"))?;
        let side = |tag| tags.get(tag).and_then(|side| u32::try_from(side).ok());
        let (Some(width), Some(height)) = (side(256), side(257)) else {
            return Err(Kind::Tiff.malformed("its directory has no width and height"));
        };
        Ok(Directory {
            big: tags.big,
            width,
            height,
            bits: tags.get(258).unwrap_or(1),
            compression: tags.get(259).unwrap_or(1),
            photometric: tags.get(262).unwrap_or(1),
            fill_order: tags.get(266).unwrap_or(1),
            samples: tags.get(277).unwrap_or(1),
            planar: tags.get(284) == Some(2),
            tile: side(322).zip(side(323)),
            orientation: tags.get(274).unwrap_or(1),
            extra: tags.get(338),
            format: tags.get(339).unwrap_or(1),
        })
    }

    /// Returns the bytes of a decoded pixel.
    fn pixel_bytes(&self) -> u64 {
        self.samples
            .max(1)
            .saturating_mul(self.bits.div_ceil(8).max(1))
    }

    fn has_alpha(&self) -> bool {
        self.samples == 2 || self.samples > 3
    }

    /// Returns the orientation by EXIF, 1 to 8.
    pub(crate) fn orientation(&self) -> u8 {
        let known = u8::try_from(self.orientation).ok();
        known.filter(|known| (1..=8).contains(known)).unwrap_or(1)
    }

    /// Returns true if libtiff's own conversion to RGB is wrong, so that samples must be converted
    /// one by one. libtiff reads signed and floating-point samples as unsigned integers, ignores
    /// alpha next to grey, and converts Lab with another white point.
    pub(crate) fn needs_conversion(&self) -> bool {
        match self.photometric {
            0 | 1 if self.samples > 1 => true,
            0..=2 => matches!(self.format, 2 | 3) && self.bits > 1,
            8 | 9 => self.bits == 8,
            _ => false,
        }
    }

    fn is_jpeg(&self) -> bool {
        matches!(self.compression, 6 | 7)
    }

    /// Describes what is unusual about the picture, for messages.
    pub(crate) fn name(&self) -> String {
        match (self.photometric, self.compression) {
            _ if self.big => "a BigTIFF".to_owned(),
            (3, _) => "a TIFF with palette colours".to_owned(),
            (_, 2..=4) => "a TIFF compressed as a fax".to_owned(),
            (6, _) => "a TIFF with YCbCr colours".to_owned(),
            (8..=10, _) => "a TIFF with Lab colours".to_owned(),
            (32803 | 34892, _) => "a raw photo (DNG)".to_owned(),
            (_, 6 | 7) => "a TIFF compressed as JPEG".to_owned(),
            (_, 1 | 5 | 8 | 32773 | 32946) if self.format == 2 => {
                "a TIFF of signed samples".to_owned()
            }
            (_, 1 | 5 | 8 | 32773 | 32946) if self.format == 3 => {
                format!("a TIFF of {}-bit floating-point samples", self.bits)
            }
            (_, 1 | 5 | 8 | 32773 | 32946) if self.planar => {
                "a TIFF with a plane for each channel".to_owned()
            }
            (_, 1 | 5 | 8 | 32773 | 32946) => {
                format!("a TIFF of {} samples of {} bits", self.samples, self.bits)
            }
            (_, other) => format!("a TIFF compressed by method {other}"),
        }
    }

    /// Returns true if the image crate is known to decode this variant. Other variants are tried
    /// with the image crate and then with libtiff.
    pub(crate) fn is_supported(&self) -> bool {
        let colours = match (self.photometric, self.samples) {
            (0 | 1, 1) | (2, 3 | 4) => true,
            (5, 4) => !self.planar,
            _ => false,
        };
        let depth = match (self.bits, self.format) {
            (8 | 16, 1) => true,
            (1, 1) => self.photometric < 2,
            (32, 3) => self.photometric == 2,
            _ => false,
        };
        let packed = matches!(self.compression, 1 | 5 | 7 | 8 | 32773 | 32946);
        colours && depth && packed && !self.big && self.is_safe_to_try()
    }

    /// Returns true if the image crate may try to decode the picture. It panics on tiles of
    /// separate channels, and assumes one order of bits.
    pub(crate) fn is_safe_to_try(&self) -> bool {
        self.fill_order == 1 && !(self.planar && self.tile.is_some())
    }
}

pub(crate) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let directory = Directory::read(bytes)?;
    let file = bytes.len() as u64;
    let (width, height) = (directory.width, directory.height);
    let times = |bytes: u64| (u64::from(width) * u64::from(height)).saturating_mul(bytes);
    let pixel_bytes = directory.pixel_bytes();
    // The decoder's own buffer next to ours; with JPEG, also a strip that is the whole picture.
    let decoder_bytes = times(if directory.is_jpeg() {
        pixel_bytes.saturating_mul(2)
    } else {
        pixel_bytes
    });
    let decoder_bytes = decoder_bytes.saturating_add(file + DECODER_OVERHEAD);
    let mut header = Header::new(
        width,
        height,
        pixel_bytes,
        directory.has_alpha(),
        decoder_bytes,
    );
    if !directory.is_supported() {
        // The decoder process holds a strip that is the whole picture, its samples or four bytes a
        // pixel, and the pixels; this process holds the pixels.
        let samples = 4 * directory.samples.min(4);
        let by_libtiff = times(pixel_bytes.saturating_add(samples + 3 + 3));
        header.peak_memory = header
            .peak_memory
            .max(by_libtiff.saturating_add(file + DECODER_OVERHEAD));
    }
    Ok(header)
}

/// The entries of a directory.
struct Tags<'a> {
    tiff: &'a [u8],
    little: bool,
    big: bool,
    /// The range of their bytes in the file.
    entries: Range<usize>,
}

impl<'a> Tags<'a> {
    fn of(tiff: &'a [u8]) -> Option<Self> {
        let mut tags = Tags {
            tiff,
            little: tiff.starts_with(b"II"),
            big: false,
            entries: 0..0,
        };
        tags.big = tags.number(2, 2)? == 43;
        let (at, length, entry) = if tags.big {
            (tags.number(8, 8)?, 8, 20)
        } else {
            (tags.number(4, 4)?, 2, 12)
        };
        let directory = usize::try_from(at).ok()?;
        let count = tags.number(directory, length)?.min(MAX_ENTRIES) as usize;
        let start = directory.checked_add(length)?;
        tags.entries = start..start.checked_add(count * entry)?;
        Some(tags)
    }

    /// Reads a number of `length` bytes.
    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let bytes = self.tiff.get(at..at.checked_add(length)?)?;
        let add = |number, &byte| number << 8 | u64::from(byte);
        Some(if self.little {
            bytes.iter().rev().fold(0, add)
        } else {
            bytes.iter().fold(0, add)
        })
    }

    /// Returns the first value of a tag. Returns `None` if the tag is missing or not an integer.
    fn get(&self, tag: u64) -> Option<u64> {
        let (size, head) = if self.big { (20, 12) } else { (12, 8) };
        let mut places = self.entries.clone().step_by(size);
        let entry = places.find(|&at| self.number(at, 2) == Some(tag))?;
        let length = match self.number(entry + 2, 2)? {
            1 => 1,
            3 => 2,
            4 => 4,
            16 => 8,
            _ => return None,
        };
        let count = self.number(entry + 4, head - 4)?;
        // Values that do not fit into the entry are stored elsewhere, at the offset in the entry.
        let fits = count.checked_mul(length as u64)? <= (size - head) as u64;
        let value = entry + head;
        let value = if fits {
            value
        } else {
            usize::try_from(self.number(value, size - head)?).ok()?
        };
        self.number(value, length)
    }
}
