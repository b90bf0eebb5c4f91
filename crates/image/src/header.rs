//! What a picture's headers tell before anything is decoded: its size, and the memory that decoding takes.
//! Knows formats' headers and what their decoders allocate; decodes nothing. What a header merely claims is bounded here.

use std::io::Cursor;

use ::image::{ImageDecoder, ImageFormat, ImageReader};

use crate::{
    ImageError, MAX_BYTES, MAX_PIXELS, MAX_SIDE, boxes,
    jpeg::{self, Frame},
    jxl,
    kind::Kind,
    png,
    tiff::Directory,
    webp,
};

/// A picture's width and height in pixels as they are stored, and the most bytes that decoding it has at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub width: u32,
    pub height: u32,
    pub peak: u64,
}

impl Header {
    /// Reads the headers of a picture and checks its size.
    ///
    /// # Errors
    /// [`ImageError::Malformed`], [`ImageError::Unsupported`] and [`ImageError::TooLarge`].
    pub(crate) fn read(bytes: &[u8], kind: Kind) -> Result<Self, ImageError> {
        let header = Header::unchecked(bytes, kind)?;
        let Header {
            width,
            height,
            peak,
        } = header;
        if width == 0 || height == 0 {
            return Err(kind.malformed("it has no pixels"));
        }
        if width.max(height) > MAX_SIDE
            || u64::from(width) * u64::from(height) > MAX_PIXELS
            || peak > MAX_BYTES
        {
            return Err(ImageError::TooLarge {
                width,
                height,
                megabytes: peak.div_ceil(1_000_000),
            });
        }
        Ok(header)
    }

    /// What the headers say, however much it is.
    pub(crate) fn unchecked(bytes: &[u8], kind: Kind) -> Result<Self, ImageError> {
        let given = bytes.len() as u64;
        match kind {
            Kind::Jpeg => {
                let frame = jpeg::frame(bytes)
                    .ok_or_else(|| kind.malformed("truncated: it has no frame"))?;
                Ok(of_jpeg(&frame, given))
            }
            Kind::Png => {
                let info = png::info(bytes).ok_or_else(|| kind.malformed("it has no header"))?;
                let (channels, bytes) = info.sample_bytes();
                let working = 2 * given + u64::from(info.width) * 32 + WORKING;
                Ok(Header::new(
                    info.width,
                    info.height,
                    channels * bytes,
                    channels % 2 == 0,
                    working,
                ))
            }
            Kind::WebP => webp::header(bytes).ok_or_else(|| kind.malformed("it has no frame")),
            Kind::Gif => of_gif(bytes).ok_or_else(|| kind.malformed("it has no frame")),
            Kind::Bmp => {
                let reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Bmp);
                let decoder = reader
                    .into_decoder()
                    .map_err(|error| kind.malformed(error))?;
                let (width, height) = decoder.dimensions();
                let colours = decoder.color_type();
                let native = u64::from(colours.bytes_per_pixel());
                let working = u64::from(width) * 16 + WORKING;
                Ok(Header::new(
                    width,
                    height,
                    native,
                    colours.has_alpha(),
                    working,
                ))
            }
            Kind::Tiff => Ok(of_tiff(&Directory::read(bytes)?, given)),
            Kind::Heic | Kind::Avif => {
                let told = boxes::read(bytes).ok_or_else(|| kind.malformed("it has no picture"))?;
                // Measured: planes, those that libheif converts by way of, and the pixels, in the process that decodes; the pixels here.
                let colours = match (kind, told.deep) {
                    (Kind::Avif, _) => 15,
                    (_, true) => 16,
                    (_, false) => 10,
                };
                let alpha = if told.alpha { 5 } else { 0 };
                let working = given + WORKING;
                Ok(Header::new(
                    told.width,
                    told.height,
                    colours + alpha,
                    false,
                    working,
                ))
            }
            Kind::Jxl => {
                let (width, height) =
                    jxl::size(bytes).ok_or_else(|| kind.malformed("it has no size"))?;
                // Measured: floating-point planes, twice, and the pixels, in the process that decodes; the pixels here.
                Ok(Header::new(width, height, 40, false, given + WORKING))
            }
        }
    }

    /// From the bytes a decoded pixel has, whether alpha is among them, and the bytes that the decoder needs besides.
    pub(crate) fn new(width: u32, height: u32, native: u64, alpha: bool, working: u64) -> Self {
        let pixels = u64::from(width) * u64::from(height);
        let times = |bytes: u64| pixels.saturating_mul(bytes);
        let decoding = times(native).saturating_add(working);
        let to_rgb = match (native, alpha) {
            (4, true) => times(4 + 3),
            (_, true) => times(native.saturating_add(4).max(4 + 3)),
            (3, false) => times(3),
            (_, false) => times(native.saturating_add(3)),
        };
        // Turned upright, and the rows that a model's input of up to 256 pixels is made by.
        let upright = times(3 + 3).saturating_add(u64::from(width.max(height)) * 3 * 256);
        Header {
            width,
            height,
            peak: decoding.max(to_rgb).max(upright),
        }
    }
}

/// Tables and windows of a decoder, whatever the picture.
pub(crate) const WORKING: u64 = 1 << 18;

fn of_jpeg(frame: &Frame, given: u64) -> Header {
    let native = if frame.samplings.len() == 1 { 1 } else { 3 };
    let (across, down) = frame
        .samplings
        .iter()
        .fold((1, 1), |(across, down), &(h, v)| {
            (across.max(h), down.max(v))
        });
    let units = |side: u32, most: u64| u64::from(side).div_ceil(8 * most);
    let blocks: u64 = frame.samplings.iter().map(|(h, v)| h * v).sum();
    let row = units(frame.width, across) * blocks * 64 * 2;
    // Rows of coefficients, of samples and of upsampled ones. More scans than one keep all coefficients.
    let rows = if frame.in_one_scan {
        4
    } else {
        4 + units(frame.height, down)
    };
    Header::new(
        frame.width,
        frame.height,
        native,
        false,
        row * rows + 2 * given + WORKING,
    )
}

fn of_tiff(directory: &Directory, given: u64) -> Header {
    let (width, height) = (directory.width, directory.height);
    let times = |bytes: u64| (u64::from(width) * u64::from(height)).saturating_mul(bytes);
    let native = directory.pixel_bytes();
    // The decoder's buffer beside ours, and a strip of JPEG that is the whole picture.
    let working = times(if directory.is_jpeg() {
        native.saturating_mul(2)
    } else {
        native
    });
    let working = working.saturating_add(given + WORKING);
    let mut header = Header::new(width, height, native, directory.has_alpha(), working);
    if !directory.is_usual() {
        // In the process that decodes: a strip that is the whole picture, its samples or four bytes, and the pixels. Here: the pixels.
        let samples = 4 * directory.samples.min(4);
        let by_libtiff = times(native.saturating_add(samples + 3 + 3));
        header.peak = header.peak.max(by_libtiff.saturating_add(given + WORKING));
    }
    header
}

/// Of the screen, and of the first frame beside it.
fn of_gif(bytes: &[u8]) -> Option<Header> {
    let word = |at: usize| {
        Some(u32::from(u16::from_le_bytes(
            bytes.get(at..at + 2)?.try_into().ok()?,
        )))
    };
    let (width, height) = (word(6)?, word(8)?);
    let table = |flags: u8| {
        if flags & 0x80 != 0 {
            3 << ((flags & 7) + 1)
        } else {
            0
        }
    };
    let mut at = 13 + table(*bytes.get(10)?);
    // Extensions: each a byte that says which and blocks up to an empty one.
    while *bytes.get(at)? == 0x21 {
        at += 2;
        while let length @ 1.. = usize::from(*bytes.get(at)?) {
            at += 1 + length;
        }
        at += 1;
    }
    let frame = match *bytes.get(at)? {
        0x2c => u64::from(word(at + 5)?) * u64::from(word(at + 7)?),
        _ => 0,
    };
    Some(Header::new(width, height, 4, true, frame * 5 + WORKING))
}
