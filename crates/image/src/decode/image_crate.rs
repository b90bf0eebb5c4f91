//! Decodes with the image crate, within the limits.

use std::io::Cursor;

use ::image::{
    DynamicImage, ImageDecoder, ImageError as Source, ImageFormat, ImageReader, Limits,
    metadata::Orientation,
};

use crate::{
    headers::header::Header,
    types::{error::ImageError, kind::Kind, limits::MAX_MEMORY},
};

/// Decodes a picture. Refuses one whose size differs from its header's.
pub(crate) fn decode(
    bytes: &[u8],
    kind: Kind,
    format: ImageFormat,
    header: Header,
) -> Result<(DynamicImage, Orientation), ImageError> {
    let wrong = |error| match error {
        Source::Limits(_) => header.too_large(),
        other => kind.malformed(other),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    if decoder.dimensions() != (header.width, header.height) {
        return Err(kind.malformed("its headers state different sizes"));
    }
    // A broken EXIF block does not mean that the picture is broken.
    let orientation = match kind {
        Kind::WebP => webp_orientation(&mut decoder),
        _ => decoder.orientation().unwrap_or(Orientation::NoTransforms),
    };
    let picture = DynamicImage::from_decoder(decoder).map_err(wrong)?;
    Ok((picture, orientation))
}

/// Reads the orientation of a WebP. Some programs start its EXIF chunk with the prefix of a JPEG
/// segment.
pub(crate) fn webp_orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    let exif = decoder.exif_metadata().ok().flatten().unwrap_or_default();
    Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif))
        .unwrap_or(Orientation::NoTransforms)
}
