//! Decodes WebP with the image crate. The process limits the memory of prefix codes, which no
//! header states.

use crate::{
    decode::webp,
    decoder_process::answer::{Failure, Pixels},
    headers,
    types::{alpha::Alpha, error::ImageError, kind::Kind},
};

pub(super) fn decode(bytes: &[u8]) -> Result<Pixels, Failure> {
    let refused = |error: ImageError| Failure::Refused(error.to_string());
    let header = headers::read(bytes, Kind::WebP).map_err(refused)?;
    let (picture, _) = webp::decode_here(bytes, header).map_err(refused)?;
    let rgb = Alpha::Straight.flatten(picture);
    let (width, height) = rgb.dimensions();
    let rgb = rgb.into_raw();
    Ok(Pixels { width, height, rgb })
}
