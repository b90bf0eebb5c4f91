//! The format of a file, by its first bytes.

use ::image::ImageFormat;

use crate::types::error::ImageError;

/// A supported format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
    Heic,
    Avif,
    Jxl,
}

/// Unsupported formats that the refusal names: their first bytes and their names.
const UNSUPPORTED: [(&[u8], &str); 7] = [
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
];

impl Kind {
    /// Recognises the format of a file.
    ///
    /// # Errors
    /// [`ImageError::Empty`] and [`ImageError::Format`].
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.is_empty() {
            return Err(ImageError::Empty);
        }
        if bytes.starts_with(b"\xff\x0a") || bytes.starts_with(b"\0\0\0\x0cJXL \r\n\x87\n") {
            return Ok(Kind::Jxl);
        }
        // A TIFF signature with 43 is BigTIFF, whose offsets have 8 bytes.
        if bytes.starts_with(b"II\x2b\0") || bytes.starts_with(b"MM\0\x2b") {
            return Ok(Kind::Tiff);
        }
        if bytes.get(4..8) == Some(b"ftyp") {
            return iso_media(bytes);
        }
        let found = match ::image::guess_format(bytes) {
            Ok(ImageFormat::Jpeg) => return Ok(Kind::Jpeg),
            Ok(ImageFormat::Png) => return Ok(Kind::Png),
            Ok(ImageFormat::WebP) => return Ok(Kind::WebP),
            Ok(ImageFormat::Gif) => return Ok(Kind::Gif),
            Ok(ImageFormat::Bmp) => return Ok(Kind::Bmp),
            Ok(ImageFormat::Tiff) => return Ok(Kind::Tiff),
            Ok(other) => other.to_mime_type(),
            Err(_) => UNSUPPORTED
                .iter()
                .find(|(start, _)| bytes.starts_with(start))
                .map_or("this content", |(_, name)| name),
        };
        Err(ImageError::Format { found })
    }

    /// Returns the media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Kind::Jpeg => "image/jpeg",
            Kind::Png => "image/png",
            Kind::WebP => "image/webp",
            Kind::Gif => "image/gif",
            Kind::Bmp => "image/bmp",
            Kind::Tiff => "image/tiff",
            Kind::Heic => "image/heic",
            Kind::Avif => "image/avif",
            Kind::Jxl => "image/jxl",
        }
    }

    /// Returns the error of a broken file of this format.
    pub(crate) fn malformed(
        self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ImageError {
        ImageError::Malformed {
            format: self.media_type(),
            source: source.into(),
        }
    }
}

/// Recognises a file of ISO boxes. Its first box lists the brands that it conforms to. `mif1`
/// stands for any picture, so a codec's own brand comes first.
fn iso_media(bytes: &[u8]) -> Result<Kind, ImageError> {
    let length = bytes[..4]
        .iter()
        .fold(0, |length, &byte| length << 8 | usize::from(byte));
    let brands = bytes.get(8..length.min(bytes.len())).unwrap_or_default();
    let has_brand = |wanted: &[&[u8; 4]]| {
        let mut brands = brands.chunks_exact(4);
        brands.any(|brand| wanted.iter().any(|one| *one == brand))
    };
    if has_brand(&[b"avif", b"avis"]) {
        Ok(Kind::Avif)
    } else if has_brand(&[
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1",
    ]) {
        Ok(Kind::Heic)
    } else if has_brand(&[b"crx "]) {
        Err(ImageError::Format {
            found: "a Canon raw photo",
        })
    } else {
        Err(ImageError::Format {
            found: "a video or sound file",
        })
    }
}

/// Returns the media type of an image file, by its first bytes.
///
/// # Errors
/// [`ImageError::Empty`], [`ImageError::Format`].
pub fn media_type(bytes: &[u8]) -> Result<&'static str, ImageError> {
    Ok(Kind::of(bytes)?.media_type())
}
