//! GIF: the sizes of the screen and of its first frame.

use crate::{
    headers::header::{DECODER_OVERHEAD, Header},
    types::{error::ImageError, kind::Kind},
};

pub(crate) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    read(bytes).ok_or_else(|| Kind::Gif.malformed("it has no frame"))
}

/// Counts the memory of the screen plus that of the first frame. Returns `None` if the file ends
/// before that frame.
fn read(bytes: &[u8]) -> Option<Header> {
    let word = |at: usize| {
        Some(u32::from(u16::from_le_bytes(
            bytes.get(at..at + 2)?.try_into().ok()?,
        )))
    };
    let (width, height) = (word(6)?, word(8)?);
    let table = |flags: u8| {
        if flags & 0x80 != 0 {
            3 << ((flags & 7) + 1)
        } else {
            0
        }
    };
    let mut offset = 13 + table(*bytes.get(10)?);
    // Each extension is a byte with its type, then blocks up to an empty one.
    while *bytes.get(offset)? == 0x21 {
        offset += 2;
        while let length @ 1.. = usize::from(*bytes.get(offset)?) {
            offset += 1 + length;
        }
        offset += 1;
    }
    let frame = match *bytes.get(offset)? {
        0x2c => u64::from(word(offset + 5)?) * u64::from(word(offset + 7)?),
        _ => 0,
    };
    Some(Header::new(
        width,
        height,
        4,
        true,
        frame * 5 + DECODER_OVERHEAD,
    ))
}
