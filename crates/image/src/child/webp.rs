//! WebP by the image crate, whose memory is limited here: a lossless one may have prefix codes that no header counts.

use super::{Failed, Pixels};
use crate::{
    decode::{Alpha, over_white},
    header::Header,
    kind::Kind,
    webp,
};

pub(super) fn decode(bytes: &[u8]) -> Result<Pixels, Failed> {
    let refused = |error: crate::ImageError| Failed::Refused(error.to_string());
    let header = Header::read(bytes, Kind::WebP).map_err(refused)?;
    let (picture, _) = webp::decode_here(bytes, header).map_err(refused)?;
    let rgb = over_white(picture, Alpha::Straight);
    let (width, height) = rgb.dimensions();
    let rgb = rgb.into_raw();
    Ok(Pixels { width, height, rgb })
}
