//! JPEG XL: the size in its header.
//! Knows the first bits of a codestream and the boxes around it; the rest is the decoder's.

/// Width and height in pixels as they are stored; none if there is no header.
pub(crate) fn size(file: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits {
        bytes: codestream(file)?.strip_prefix(b"\xff\x0a")?,
        at: 0,
    };
    let small = bits.take(1)? == 1;
    let height = bits.side(small)?;
    let share = |over: u64, under: u64| u32::try_from(u64::from(height) * over / under).ok();
    let width = match bits.take(3)? {
        1 => height,
        2 => share(12, 10)?,
        3 => share(4, 3)?,
        4 => share(3, 2)?,
        5 => share(16, 9)?,
        6 => share(5, 4)?,
        7 => share(2, 1)?,
        _ => bits.side(small)?,
    };
    Some((width, height))
}

/// The codestream, or the first part of it.
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
            // The number of the part comes first.
            b"jxlp" => return rest.get(12..),
            _ => rest = rest.get(length.max(8)..)?,
        }
    }
}

/// Bits, the lowest of a byte first.
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

    /// A side: eighths of it in 5 bits if it is small, else as many bits as two others say.
    fn side(&mut self, small: bool) -> Option<u32> {
        if small {
            return Some((self.take(5)? + 1) * 8);
        }
        let bits = [9, 13, 18, 30][self.take(2)? as usize];
        Some(self.take(bits)? + 1)
    }
}
