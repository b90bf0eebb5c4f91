//! HEIC and AVIF: the boxes in front of the coded pictures.

use crate::{
    headers::header::{DECODER_OVERHEAD, Header},
    types::{error::ImageError, kind::Kind},
};

/// The facts about a file's pictures that its boxes state.
struct Info {
    /// Width and height in pixels of the largest picture. It is the whole one if others are tiles.
    width: u32,
    height: u32,
    /// True if samples have more than 8 bits.
    deep: bool,
    alpha: bool,
}

pub(crate) fn header(bytes: &[u8], kind: Kind) -> Result<Header, ImageError> {
    let info = read(bytes).ok_or_else(|| kind.malformed("it has no picture"))?;
    // Measured: the decoder process holds planes, libheif's intermediate conversions and the
    // pixels; this process holds the pixels.
    let colours = match (kind, info.deep) {
        (Kind::Avif, _) => 15,
        (_, true) => 16,
        (_, false) => 10,
    };
    let alpha = if info.alpha { 5 } else { 0 };
    Ok(Header::new(
        info.width,
        info.height,
        colours + alpha,
        false,
        bytes.len() as u64 + DECODER_OVERHEAD,
    ))
}

/// Finds and reads the `meta` box. Returns `None` if it is missing or states no size.
fn read(file: &[u8]) -> Option<Info> {
    let mut rest = file;
    while let Some(head) = rest.get(..8) {
        // If the length is 1, 64 bits with the real length follow. If it is 0, the box reaches to
        // the end.
        let length = match number(&head[..4]) {
            0 => rest.len(),
            1 => usize::try_from(number(rest.get(8..16)?)).ok()?,
            length => usize::try_from(length).ok()?,
        };
        let length = length.clamp(8, rest.len());
        if &head[4..] == b"meta" {
            return read_meta(&rest[..length]);
        }
        rest = &rest[length..];
    }
    None
}

fn read_meta(meta: &[u8]) -> Option<Info> {
    let all = |name: &'static [u8]| {
        let places = meta
            .windows(16)
            .filter(move |bytes| bytes.starts_with(name));
        places.map(move |bytes| &bytes[name.len()..])
    };
    // After four bytes of version and flags, `ispe` has width and height; `pixi` has the number of
    // channels and the bits of each.
    let side = |bytes: &[u8]| u32::try_from(number(bytes)).ok();
    let sizes = all(b"ispe").filter_map(|bytes| side(&bytes[4..8]).zip(side(&bytes[8..12])));
    let (width, height) =
        sizes.max_by_key(|&(width, height)| u64::from(width) * u64::from(height))?;
    Some(Info {
        width,
        height,
        deep: all(b"pixi").any(|bytes| bytes[5] > 8),
        alpha: all(b"auxid:1").next().is_some() || all(b"auxiliary:alpha").next().is_some(),
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}
