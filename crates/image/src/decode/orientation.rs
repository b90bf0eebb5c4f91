//! Reads how a picture must be turned to be upright.

use ::image::{ImageDecoder, metadata::Orientation};

use crate::types::kind::Kind;

/// Reads the orientation of a picture. If its EXIF block is missing or broken, the picture is taken
/// to be upright: such a block does not mean that the pixels are broken.
pub(crate) fn read(kind: Kind, decoder: &mut impl ImageDecoder) -> Orientation {
    let orientation = match kind {
        // Some programs start the EXIF chunk of a WebP with the prefix of a JPEG segment.
        Kind::WebP => decoder.exif_metadata().ok().flatten().and_then(|exif| {
            Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif))
        }),
        _ => decoder.orientation().ok(),
    };
    orientation.unwrap_or(Orientation::NoTransforms)
}
