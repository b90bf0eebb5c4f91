//! BMP: the size and pixel format, as the image crate reads them.

use std::io::Cursor;

use ::image::{ImageDecoder, ImageFormat, ImageReader};

use crate::{
    headers::header::{DECODER_OVERHEAD, Header},
    types::{error::ImageError, kind::Kind},
};

pub(crate) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Bmp);
    let decoder = reader
        .into_decoder()
        .map_err(|error| Kind::Bmp.malformed(error))?;
    let (width, height) = decoder.dimensions();
    let colours = decoder.color_type();
    let pixel_bytes = u64::from(colours.bytes_per_pixel());
    let decoder_bytes = u64::from(width) * 16 + DECODER_OVERHEAD;
    Ok(Header::new(
        width,
        height,
        pixel_bytes,
        colours.has_alpha(),
        decoder_bytes,
    ))
}
