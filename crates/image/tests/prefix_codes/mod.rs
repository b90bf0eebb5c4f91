//! Makes lossless WebP files whose prefix codes take far more bytes in memory than in the file.

/// Writes bits, the lowest of a byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> bit & 1) as u8) << (8 - self.free);
            self.free -= 1;
        }
    }

    /// Writes a code of one symbol.
    fn single(&mut self, symbol: u32) {
        self.put(0b101, 3);
        self.put(symbol, 8);
    }

    /// Writes a code of 11 symbols, of 1, 2, … 9, 10 and 10 bits. A decoder makes a table of 1024
    /// entries for it.
    fn deep(&mut self) {
        self.put(0, 1);
        self.put(14 - 4, 4);
        // The bits of the codes for the lengths 17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9 and 10: 3
        // for lengths 1 to 6, 4 for 7 to 10.
        for bits in [0, 0, 0, 3, 3, 3, 3, 3, 0, 3, 4, 4, 4, 4] {
            self.put(bits, 3);
        }
        self.put(1, 1);
        self.put(1, 3);
        self.put(11 - 2, 4);
        for length in (1..=10).chain([10]) {
            let (code, bits) = match length {
                1..=6 => (length - 1, 3),
                _ => (12 + length - 7, 4),
            };
            for bit in (0..bits).rev() {
                self.put(code >> bit & 1, 1);
            }
        }
    }
}

/// Returns a picture of 512 × 512 pixels with a number of groups of codes: deep ones, or codes of
/// as few bits as possible.
pub fn lossless(groups: u32, deep: bool) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0x2f, 8);
    bits.put(511, 14);
    bits.put(511, 14);
    bits.put(0, 1 + 3);
    // No transform and no colour cache. Groups of codes are assigned to blocks of 512 pixels; the
    // first block has the last group.
    bits.put(0, 2);
    bits.put(0b1111, 4);
    bits.put(0, 1);
    for symbol in [(groups - 1) & 0xff, (groups - 1) >> 8, 0, 0, 0] {
        bits.single(symbol);
    }
    for _ in 0..groups * 5 {
        if deep {
            bits.deep();
        } else {
            bits.put(0b0001, 4);
        }
    }
    let data = bits.bytes;
    let chunk = [b"VP8L", &length(&data)[..], &data].concat();
    let padded = [&chunk[..], &[0][..data.len() % 2]].concat();
    let body = [b"WEBP", &padded[..]].concat();
    [b"RIFF", &length(&body)[..], &body].concat()
}

/// Returns the length of a chunk's data as WebP writes it.
pub fn length(data: &[u8]) -> [u8; 4] {
    u32::try_from(data.len()).unwrap().to_le_bytes()
}
