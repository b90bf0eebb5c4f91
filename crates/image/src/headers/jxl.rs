//! JPEG XL: the size, in the first bits of the codestream.

use crate::{
    headers::header::{DECODER_OVERHEAD, Header},
    types::{error::ImageError, kind::Kind},
};

pub(crate) fn header(bytes: &[u8]) -> Result<Header, ImageError> {
    let (width, height) = size(bytes).ok_or_else(|| Kind::Jxl.malformed("it has no size"))?;
    // Measured: the decoder process holds floating-point planes, twice, and the pixels; this
    // process holds the pixels.
    let decoder_bytes = bytes.len() as u64 + DECODER_OVERHEAD;
    Ok(Header::new(width, height, 40, false, decoder_bytes))
}

/// Returns the width and height in pixels as they are stored. Returns `None` if there is no header.
fn size(file: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits {
        bytes: codestream(file)?.strip_prefix(b"\xff\x0a")?,
        at: 0,
    };
    let small = bits.take(1)? == 1;
    let height = bits.side(small)?;
    let ratio = |over: u64, under: u64| u32::try_from(u64::from(height) * over / under).ok();
    let width = match bits.take(3)? {
        1 => height,
        2 => ratio(12, 10)?,
        3 => ratio(4, 3)?,
        4 => ratio(3, 2)?,
        5 => ratio(16, 9)?,
        6 => ratio(5, 4)?,
        7 => ratio(2, 1)?,
        _ => bits.side(small)?,
    };
    Some((width, height))
}

/// Returns the codestream, or the first part of it.
fn codestream(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file;
    if rest.starts_with(b"\xff\x0a") {
        return Some(rest);
    }
    loop {
        let head = rest.get(..8)?;
        let length = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
        match &head[4..] {
            b"jxlc" => return rest.get(8..),
            // A part begins with its number.
            b"jxlp" => return rest.get(12..),
            _ => rest = rest.get(length.max(8)..)?,
        }
    }
}

/// Reads bits, the lowest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<u32> {
        let mut number = 0;
        for bit in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            number |= u32::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(number)
    }

    /// Reads a side in pixels: eighths of it in 5 bits if it is small, else in 9, 13, 18 or 30
    /// bits, which 2 bits select.
    fn side(&mut self, small: bool) -> Option<u32> {
        if small {
            return Some((self.take(5)? + 1) * 8);
        }
        let bits = [9, 13, 18, 30][self.take(2)? as usize];
        Some(self.take(bits)? + 1)
    }
}
