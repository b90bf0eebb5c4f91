//! TIFF: what its first directory says of the picture, and which decoder reads that.
//! Knows tags; strips, tiles and compression are the decoders'.

use std::ops::Range;

use ::image::{DynamicImage, ImageFormat, metadata::Orientation};

use crate::{
    ImageError,
    decode::{Alpha, through_image},
    header::Header,
    kind::Kind,
    process::{self, Library},
};

/// The most entries of a directory that are looked at; a picture has some twenty.
const ENTRIES: u64 = 4096;

/// What is needed of a picture's tags, with TIFF's own numbers.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    /// Whether its offsets have 8 bytes.
    big: bool,
    pub width: u32,
    pub height: u32,
    /// Bits a sample.
    pub bits: u64,
    /// Samples a pixel.
    pub samples: u64,
    compression: u64,
    pub photometric: u64,
    fill_order: u64,
    /// Whether each channel lies by itself.
    pub planar: bool,
    /// Width and length of tiles, if it has them.
    pub tile: Option<(u32, u32)>,
    orientation: u64,
    /// 1 unsigned, 2 signed, 3 floating point.
    pub format: u64,
    /// 1 where colours are multiplied by alpha, 2 where they are not.
    pub extra: Option<u64>,
}

impl Directory {
    /// Reads the first directory.
    ///
    /// # Errors
    /// [`ImageError::Malformed`] if there is none, or it has no size.
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

    /// Bytes of a pixel once it is decoded.
    pub(crate) fn pixel_bytes(&self) -> u64 {
        self.samples
            .max(1)
            .saturating_mul(self.bits.div_ceil(8).max(1))
    }

    pub(crate) fn has_alpha(&self) -> bool {
        self.samples == 2 || self.samples > 3
    }

    /// 1 to 8, as EXIF has it.
    pub(crate) fn orientation(&self) -> u8 {
        match self.orientation {
            known @ 1..=8 => known as u8,
            _ => 1,
        }
    }

    /// Whether its samples are to be converted here. libtiff takes signed and floating-point ones for whole numbers, leaves grey as it is beside
    /// alpha, and shows Lab by another white.
    pub(crate) fn is_raw(&self) -> bool {
        match self.photometric {
            0 | 1 if self.samples > 1 => true,
            0..=2 => matches!(self.format, 2 | 3) && self.bits > 1,
            8 | 9 => self.bits == 8,
            _ => false,
        }
    }

    pub(crate) fn is_jpeg(&self) -> bool {
        matches!(self.compression, 6 | 7)
    }

    /// What is special about it, for messages.
    fn name(&self) -> String {
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

    /// Whether its kind is one that the image crate reads. Other kinds are tried with it, and then with libtiff.
    pub(crate) fn is_usual(&self) -> bool {
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
        colours && depth && packed && !self.big && self.is_plain()
    }

    /// Whether the image crate may try it. It would panic over planes of tiles, and takes bits in one order.
    fn is_plain(&self) -> bool {
        self.fill_order == 1 && !(self.planar && self.tile.is_some())
    }
}

/// Decodes a TIFF's first picture, and says what its alpha means.
pub(crate) fn decode(
    tiff: &[u8],
    header: Header,
) -> Result<(DynamicImage, Orientation, Alpha), ImageError> {
    let directory = Directory::read(tiff)?;
    let alpha = match directory.extra {
        Some(1) if directory.photometric != 5 => Alpha::Multiplied,
        _ => Alpha::Straight,
    };
    if directory.is_plain() {
        match through_image(tiff, Kind::Tiff, ImageFormat::Tiff, header) {
            Ok((picture, orientation)) => return Ok((picture, orientation, alpha)),
            Err(error) if directory.is_usual() => return Err(error),
            Err(_) => {}
        }
    }
    let picture = process::decode(Library::Tiff, tiff, Kind::Tiff, directory.name(), header)?;
    let orientation = Orientation::from_exif(directory.orientation());
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Ok((picture.into(), orientation, alpha))
}

/// A directory's entries.
struct Tags<'a> {
    tiff: &'a [u8],
    little: bool,
    big: bool,
    /// Where they begin and end.
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
        let at = usize::try_from(at).ok()?;
        let count = tags.number(at, length)?.min(ENTRIES) as usize;
        let from = at.checked_add(length)?;
        tags.entries = from..from.checked_add(count * entry)?;
        Some(tags)
    }

    /// A number of so many bytes.
    fn number(&self, at: usize, length: usize) -> Option<u64> {
        let bytes = self.tiff.get(at..at.checked_add(length)?)?;
        let add = |number, &byte| number << 8 | u64::from(byte);
        Some(if self.little {
            bytes.iter().rev().fold(0, add)
        } else {
            bytes.iter().fold(0, add)
        })
    }

    /// The first value of a tag; none if it is not there or not a whole number.
    fn get(&self, tag: u64) -> Option<u64> {
        let (size, head) = if self.big { (20, 12) } else { (12, 8) };
        let mut places = self.entries.clone().step_by(size);
        let at = places.find(|&at| self.number(at, 2) == Some(tag))?;
        let length = match self.number(at + 2, 2)? {
            1 => 1,
            3 => 2,
            4 => 4,
            16 => 8,
            _ => return None,
        };
        let count = self.number(at + 4, head - 4)?;
        // Values that do not fit lie elsewhere.
        let fits = count.checked_mul(length as u64)? <= (size - head) as u64;
        let value = at + head;
        let value = if fits {
            value
        } else {
            usize::try_from(self.number(value, size - head)?).ok()?
        };
        self.number(value, length)
    }
}
