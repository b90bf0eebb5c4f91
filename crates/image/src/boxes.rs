//! HEIC and AVIF: what the boxes in front of the coded pictures tell.
//! Knows boxes; what is coded is libheif's.

/// What the boxes of a file say about its pictures.
pub(crate) struct Told {
    /// Width and height in pixels of the largest, which is the whole if it is made of tiles.
    pub width: u32,
    pub height: u32,
    /// Whether samples have more than 8 bits.
    pub deep: bool,
    pub alpha: bool,
}

/// Reads the box that tells of pictures; none if there is none or it tells no size.
pub(crate) fn read(file: &[u8]) -> Option<Told> {
    let mut rest = file;
    while let Some(head) = rest.get(..8) {
        // 1 says that 64 bits tell the length, 0 that the box goes to the end.
        let length = match number(&head[..4]) {
            0 => rest.len(),
            1 => usize::try_from(number(rest.get(8..16)?)).ok()?,
            length => length as usize,
        };
        let length = length.clamp(8, rest.len());
        if &head[4..] == b"meta" {
            return of_meta(&rest[..length]);
        }
        rest = &rest[length..];
    }
    None
}

fn of_meta(meta: &[u8]) -> Option<Told> {
    let all = |name: &'static [u8]| {
        let places = meta
            .windows(16)
            .filter(move |bytes| bytes.starts_with(name));
        places.map(move |bytes| &bytes[name.len()..])
    };
    // After a version: width and height; how many channels there are, and the bits of each.
    let sizes =
        all(b"ispe").map(|bytes| (number(&bytes[4..8]) as u32, number(&bytes[8..12]) as u32));
    let (width, height) =
        sizes.max_by_key(|&(width, height)| u64::from(width) * u64::from(height))?;
    Some(Told {
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
