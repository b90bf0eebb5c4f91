//! Decodes JPEG with the image crate, or with libjpeg-turbo if it is arithmetic-coded.

use ::image::{DynamicImage, ImageFormat, metadata::Orientation};

use crate::{
    decode::image_crate,
    headers::{
        header::Header,
        jpeg::{exif, frame, has_end},
    },
    pool::{self, protocol::Library},
    types::{error::ImageError, kind::Kind},
};

/// Decodes a JPEG. Accepts one without its end marker if all its pixels are there.
pub(crate) fn decode(
    jpeg: &[u8],
    header: Header,
) -> Result<(DynamicImage, Orientation), ImageError> {
    let read = |bytes: &[u8]| image_crate::decode(bytes, Kind::Jpeg, ImageFormat::Jpeg, header);
    if let Some(frame) = frame(jpeg)
        && let Some(what) = frame.unsupported()
    {
        if !frame.is_arithmetic() {
            return Err(ImageError::Unsupported { what });
        }
        let picture = pool::decode(Library::TurboJpeg, jpeg, Kind::Jpeg, what, header)?;
        let orientation = exif(jpeg).and_then(Orientation::from_exif_chunk);
        return Ok((
            picture.into(),
            orientation.unwrap_or(Orientation::NoTransforms),
        ));
    }
    if has_end(jpeg) {
        return read(jpeg);
    }
    // The decoder silently invents missing pixels. No pixel was missing if replacing the end with
    // other bytes does not change the result.
    let followed_by = |end: &[u8]| read(&[jpeg, end, b"\xff\xd9"].concat());
    let found = followed_by(&[])?;
    let truncated =
        || Kind::Jpeg.malformed("truncated: the end marker is missing, and pixels before it");
    match followed_by(&[0x5a, 0xc3].repeat(32)) {
        Ok((other, _)) if other.as_bytes() == found.0.as_bytes() => Ok(found),
        _ => Err(truncated()),
    }
}
