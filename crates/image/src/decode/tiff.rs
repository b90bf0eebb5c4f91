//! Decodes TIFF with the image crate, or with libtiff if the image crate does not support the
//! variant.

use ::image::{DynamicImage, ImageFormat, metadata::Orientation};

use crate::{
    decode::image_crate,
    headers::{header::Header, tiff::Directory},
    pool::{self, protocol::Library},
    types::{alpha::Alpha, error::ImageError, kind::Kind},
};

/// Decodes the first picture of a TIFF, and returns how its colours relate to alpha.
pub(crate) fn decode(
    tiff: &[u8],
    header: Header,
) -> Result<(DynamicImage, Orientation, Alpha), ImageError> {
    let directory = Directory::read(tiff)?;
    let alpha = match directory.extra {
        Some(1) if directory.photometric != 5 => Alpha::Premultiplied,
        _ => Alpha::Straight,
    };
    if directory.is_safe_to_try() {
        match image_crate::decode(tiff, Kind::Tiff, ImageFormat::Tiff, header) {
            Ok((picture, orientation)) => return Ok((picture, orientation, alpha)),
            Err(error) if directory.is_supported() => return Err(error),
            Err(_) => {}
        }
    }
    let picture = pool::decode(Library::Tiff, tiff, Kind::Tiff, directory.name(), header)?;
    let orientation = Orientation::from_exif(directory.orientation());
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Ok((picture.into(), orientation, alpha))
}
