//! Decodes with the image crate, within the limits.

use std::io::Cursor;

use ::image::{
    DynamicImage, ImageDecoder, ImageError as Source, ImageFormat, ImageReader, Limits,
    metadata::Orientation,
};

use crate::{
    decode::orientation,
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
    let orientation = orientation::read(kind, &mut decoder);
    let picture = DynamicImage::from_decoder(decoder).map_err(wrong)?;
    Ok((picture, orientation))
}
