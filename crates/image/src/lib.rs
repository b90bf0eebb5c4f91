//! Untrusted bytes to pixels: the format by content, limits before decoding, orientation, colour, size.
//! Knows nothing of models, HTTP or files; whoever calls it owns the bytes and chooses the thread, for decoding is slow.

pub mod change;
mod part;

use std::{
    fmt::{Display, Formatter},
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
};

use ::image::{
    DynamicImage, ImageDecoder, ImageError as Source, ImageFormat, ImageReader, Limits, RgbImage,
    imageops::crop_imm, metadata::Orientation,
};
use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use serde::{Deserialize, Serialize};

use part::Pane;
pub use part::{Part, PartError};

/// The formats that are read, for messages.
pub const FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP and TIFF";
/// The most pixels a side of a picture may have.
pub const MAX_SIDE: u32 = 20_000;
/// The most pixels a picture may have.
pub const MAX_PIXELS: u64 = 50_000_000;
/// The most bytes a decoder may allocate for one picture, whatever its depth and channels.
const MAX_ALLOC: u64 = 512 << 20;

/// How a picture that is not square becomes a model's square input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The whole picture, stretched.
    #[default]
    Stretch,
    /// The middle square, as long as the shorter side.
    Crop,
}

impl Display for Resize {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Resize::Stretch => "stretch",
            Resize::Crop => "crop",
        })
    }
}

impl FromStr for Resize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stretch" => Ok(Resize::Stretch),
            "crop" => Ok(Resize::Crop),
            _ => Err("it must be stretch or crop".to_owned()),
        }
    }
}

/// The square that a model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Pixels a side.
    pub side: u32,
    /// How a picture becomes it.
    pub resize: Resize,
}

impl Input {
    /// Pictures stretched to a side, in pixels.
    pub fn stretched(side: u32) -> Self {
        Input {
            side,
            resize: Resize::Stretch,
        }
    }
}

/// A square picture as a model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Pixels a side.
    pub size: u32,
    /// `size` × `size` × 3 bytes, row by row, red, green and blue.
    pub rgb: Vec<u8>,
}

/// What [`decode`] makes of an image file.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The square asked for.
    pub pixels: Pixels,
    /// The media type by content.
    pub media_type: &'static str,
    /// Width of the picture as it is meant to be seen, in pixels.
    pub width: u32,
    /// Height of the picture as it is meant to be seen, in pixels.
    pub height: u32,
}

/// Why bytes are not a picture.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No bytes at all.
    #[error("the image has no bytes")]
    Empty,
    /// Not an image, or of a format that is not read.
    #[error("{found} is not an image format that is read; the formats are {FORMATS}")]
    Format {
        /// What it looks like.
        found: &'static str,
    },
    /// Of a known format, but broken.
    #[error("the {format} image cannot be decoded: {source}")]
    Malformed {
        /// The media type by content.
        format: &'static str,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// More pixels than are decoded, however few bytes they come in.
    #[error(
        "the image is {width} × {height} pixels; at most {MAX_SIDE} a side, {MAX_PIXELS} in all \
         and {MAX_ALLOC} bytes decoded are read"
    )]
    TooLarge {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
    },
    /// The part asked for has no pixels.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The picture cannot be brought to the size asked for.
    #[error("the image cannot be resized: {0}")]
    Resize(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The media type of an image file, by its first bytes.
///
/// # Errors
/// [`ImageError::Empty`], [`ImageError::Format`].
pub fn media_type(bytes: &[u8]) -> Result<&'static str, ImageError> {
    Ok(format(bytes)?.to_mime_type())
}

/// Width and height in pixels as the header has them; none where it cannot be read.
pub fn dimensions(bytes: &[u8]) -> Option<(u32, u32)> {
    let reader = ImageReader::new(Cursor::new(bytes));
    reader.with_guessed_format().ok()?.into_dimensions().ok()
}

/// Decodes an image file and makes a model's input of it.
///
/// # Errors
/// Every [`ImageError`] but `Part`.
pub fn decode(bytes: &[u8], input: Input) -> Result<Decoded, ImageError> {
    decode_part(bytes, input, None)
}

/// Decodes an image file and makes a model's input of a part of it, or of all. Width and height are the whole picture's.
///
/// # Errors
/// Every [`ImageError`].
pub fn decode_part(bytes: &[u8], input: Input, part: Option<Part>) -> Result<Decoded, ImageError> {
    let format = format(bytes)?;
    let picture = guarded(bytes, format)?;
    let pixels = match part {
        None => resize(&picture, input)?,
        Some(part) => {
            let Pane {
                x,
                y,
                width,
                height,
            } = part.pane(picture.width(), picture.height())?;
            resize(&crop_imm(&picture, x, y, width, height).to_image(), input)?
        }
    };
    Ok(Decoded {
        pixels,
        media_type: format.to_mime_type(),
        width: picture.width(),
        height: picture.height(),
    })
}

/// Decodes an image file at its own size: the first frame, upright, over white, 8 bits a channel.
///
/// # Errors
/// Every [`ImageError`] but `Part` and `Resize`.
pub fn decode_rgb(bytes: &[u8]) -> Result<RgbImage, ImageError> {
    guarded(bytes, format(bytes)?)
}

/// Makes a model's input of a picture. Each pixel of a smaller picture is the mean of all that it covers.
///
/// # Errors
/// [`ImageError::Resize`].
pub fn resize(picture: &RgbImage, input: Input) -> Result<Pixels, ImageError> {
    let size = input.side;
    let rgb = scale(picture, size, size, input.resize)?;
    Ok(Pixels { size, rgb })
}

/// The bytes of a picture brought to a width and a height, row by row.
fn scale(picture: &RgbImage, width: u32, height: u32, how: Resize) -> Result<Vec<u8>, ImageError> {
    let mut rgb = vec![0; width as usize * height as usize * 3];
    let source =
        TypedImageRef::<U8x3>::from_buffer(picture.width(), picture.height(), picture.as_raw())
            .map_err(|error| ImageError::Resize(error.into()))?;
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut rgb)
        .map_err(|error| ImageError::Resize(error.into()))?;
    let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    if how == Resize::Crop {
        options = options.fit_into_destination(Some((0.5, 0.5)));
    }
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(|error| ImageError::Resize(error.into()))?;
    Ok(rgb)
}

fn format(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    match ::image::guess_format(bytes) {
        _ if bytes.is_empty() => Err(ImageError::Empty),
        Ok(format @ (Jpeg | Png | WebP | Gif | Bmp | Tiff)) => Ok(format),
        other => Err(ImageError::Format {
            found: other.map_or("this content", |format| format.to_mime_type()),
        }),
    }
}

/// A bug in a decoder costs the request that met it, not the thread.
fn guarded(bytes: &[u8], format: ImageFormat) -> Result<RgbImage, ImageError> {
    catch_unwind(AssertUnwindSafe(|| read(bytes, format)))
        .unwrap_or_else(|_| Err(malformed(format, "the decoder panicked")))
}

fn read(bytes: &[u8], format: ImageFormat) -> Result<RgbImage, ImageError> {
    if format == ImageFormat::Jpeg && !has_end(bytes) {
        return Err(malformed(format, "truncated: the end marker is missing"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader
        .into_decoder()
        .map_err(|error| malformed(format, error))?;

    let (width, height) = decoder.dimensions();
    let too_large = ImageError::TooLarge { width, height };
    if width.max(height) > MAX_SIDE
        || u64::from(width) * u64::from(height) > MAX_PIXELS
        || decoder.total_bytes() > MAX_ALLOC
    {
        return Err(too_large);
    }
    if width == 0 || height == 0 {
        return Err(malformed(format, "it has no pixels"));
    }
    // A broken EXIF block says nothing about the picture beside it.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| match error {
        Source::Limits(_) => too_large,
        other => malformed(format, other),
    })?;
    picture.apply_orientation(orientation);
    Ok(over_white(picture))
}

fn over_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0.map(u32::from);
        ::image::Rgb(
            [red, green, blue]
                .map(|channel| ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8),
        )
    })
}

/// Whether a JPEG's segments lead to its end marker. The decoder fills what is missing with grey and says nothing.
fn has_end(jpeg: &[u8]) -> bool {
    let mut rest = jpeg;
    // Within coded data FF is followed by 00 or a restart marker, and before any marker FF may be repeated.
    let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0..=1 | 0xd0..=0xd8 | 0xff);
    while let Some(at) = rest.windows(2).position(is_marker) {
        if rest[at + 1] == 0xd9 {
            return true;
        }
        // A segment is stepped over whole: the thumbnail inside one has an end marker of its own.
        let Some(length) = rest.get(at + 2..at + 4) else {
            return false;
        };
        let next = at + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        rest = rest.get(next..).unwrap_or_default();
    }
    false
}

fn malformed(
    format: ImageFormat,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ImageError {
    ImageError::Malformed {
        format: format.to_mime_type(),
        source: source.into(),
    }
}
