//! Decodes WebP with the image crate: in this process, or in a decoder process if the headers do
//! not bound the memory.

use std::io::Cursor;

use ::image::{DynamicImage, ImageFormat, codecs::webp::WebPDecoder, metadata::Orientation};

use crate::{
    decode::{image_crate, orientation},
    headers::{header::Header, webp::is_unbounded},
    pool::{self, protocol::Library},
    types::{error::ImageError, kind::Kind},
};

/// Decodes a picture. Uses a decoder process if the prefix codes can take more memory than the
/// header shows.
pub(crate) fn decode(
    bytes: &[u8],
    header: Header,
) -> Result<(DynamicImage, Orientation), ImageError> {
    let malformed = |error| Kind::WebP.malformed(error);
    if !is_unbounded(bytes) {
        return decode_here(bytes, header);
    }
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(malformed)?;
    let what = "a lossless WebP picture this large".to_owned();
    let picture = pool::decode(Library::WebP, bytes, Kind::WebP, what, header)?;
    let orientation = orientation::read(Kind::WebP, &mut decoder);
    Ok((picture.into(), orientation))
}

/// Decodes a picture in this process.
pub(crate) fn decode_here(
    bytes: &[u8],
    header: Header,
) -> Result<(DynamicImage, Orientation), ImageError> {
    image_crate::decode(bytes, Kind::WebP, ImageFormat::WebP, header)
}
