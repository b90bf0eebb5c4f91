//! Makes damaged pictures: flipped bits, cut-off ends, spliced heads. A mutant depends only on its
//! number.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

/// Values that size, offset and count fields are least prepared for.
const ODD: [u32; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    20_000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];
/// The bytes of a head, which has most fields.
const HEAD: usize = 64;

type Base = (&'static str, Vec<u8>);

/// The pictures that mutants are made of, by format.
pub struct Corpus(Vec<(&'static str, Vec<Base>)>);

/// A damaged file, and how it was made.
pub struct Mutant {
    pub format: &'static str,
    pub what: String,
    pub bytes: Vec<u8>,
}

macro_rules! fixtures {
    ($($name:literal),+) => {
        vec![$(($name, include_bytes!(concat!("../../fixtures/", $name)).to_vec())),+]
    };
}

impl Corpus {
    pub fn new() -> Self {
        let picture = DynamicImage::ImageRgb8(RgbImage::from_fn(57, 39, |x, y| {
            Rgb([(x * 4) as u8, (y * 6) as u8, (x * y % 251) as u8])
        }));
        let made = |format, picture: &DynamicImage| {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            ("a made one", bytes.into_inner())
        };
        let deep = DynamicImage::ImageRgb16(picture.to_rgb16());
        let clear = DynamicImage::ImageRgba8(picture.to_rgba8());
        let grey = DynamicImage::ImageLuma8(picture.to_luma8());
        let mut formats = vec![
            (
                "png",
                fixtures!["alpha.png", "deep.png", "one.png", "palette.png"],
            ),
            (
                "jpeg",
                fixtures![
                    "cmyk.jpg",
                    "grey.jpg",
                    "progressive.jpg",
                    "rotated.jpg",
                    "upright.jpg"
                ],
            ),
            ("webp", fixtures!["animated.webp", "small.webp"]),
            ("gif", fixtures!["animated.gif"]),
            ("tiff", fixtures!["lzw.tiff", "small.tiff"]),
            ("bmp", fixtures!["palette.bmp", "small.bmp"]),
        ];
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
        let more = [
            vec![
                made(Png, &picture),
                made(Png, &grey),
                made(Png, &clear),
                made(Png, &deep),
            ],
            vec![made(Jpeg, &picture)],
            vec![made(WebP, &picture), made(WebP, &clear)],
            vec![made(Gif, &clear)],
            vec![
                made(Tiff, &picture),
                made(Tiff, &grey),
                made(Tiff, &deep),
                made(Tiff, &clear),
            ],
            vec![made(Bmp, &picture), made(Bmp, &grey), made(Bmp, &clear)],
        ];
        for ((_, bases), more) in formats.iter_mut().zip(more) {
            bases.extend(more);
        }
        Corpus(formats)
    }

    pub fn mutant(&self, number: usize) -> Mutant {
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let (format, bases) = &self.0[number % self.0.len()];
        let (name, base) = bases.choose(&mut rng).unwrap();
        let mut bytes = base.clone();
        let mut what = format!("{number}: {name}");
        for _ in 0..if rng.random_bool(0.3) { 2 } else { 1 } {
            what += ", ";
            what += &match rng.random_range(0..5) {
                0 => flip(&mut bytes, &mut rng),
                1 => cut(&mut bytes, &mut rng),
                2 => self.splice(&mut bytes, format, &mut rng),
                3 => overwrite(&mut bytes, &mut rng),
                _ => shift(&mut bytes, &mut rng),
            };
        }
        // Without this, hardly any damaged PNG would pass its checksums.
        if bytes.starts_with(b"\x89PNG") && rng.random() {
            what += ", checksums corrected";
            correct_checksums(&mut bytes);
        }
        Mutant {
            format,
            what,
            bytes,
        }
    }

    /// Replaces the head by that of another picture, of the same format half of the time.
    fn splice(&self, bytes: &mut Vec<u8>, format: &str, rng: &mut ChaCha8Rng) -> String {
        let same: bool = rng.random();
        let others = self.0.iter().filter(|(other, _)| !same || *other == format);
        let others: Vec<_> = others.flat_map(|(_, bases)| bases).collect();
        let (name, other) = others.choose(rng).unwrap();
        let (from, to) = (at(other, rng), at(bytes, rng));
        bytes.splice(..to, other[..from].iter().copied());
        format!("its first {to} bytes replaced by {from} of {name}")
    }
}

/// Returns a random position, in the head half of the time.
fn at(bytes: &[u8], rng: &mut ChaCha8Rng) -> usize {
    let end = if rng.random() {
        HEAD.min(bytes.len())
    } else {
        bytes.len()
    };
    rng.random_range(0..end.max(1))
}

fn flip(bytes: &mut [u8], rng: &mut ChaCha8Rng) -> String {
    let bits = rng.random_range(1..=16);
    for _ in 0..bits {
        let at = at(bytes, rng);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << rng.random_range(0..8);
        }
    }
    format!("{bits} bits flipped")
}

fn cut(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) -> String {
    let length = at(bytes, rng);
    bytes.truncate(length);
    format!("cut to {length} bytes")
}

fn overwrite(bytes: &mut [u8], rng: &mut ChaCha8Rng) -> String {
    let (value, at, width) = (
        *ODD.choose(rng).unwrap(),
        at(bytes, rng),
        *[1, 2, 4].choose(rng).unwrap(),
    );
    let big = rng.random();
    for i in 0..width {
        let shift = 8 * if big { width - 1 - i } else { i };
        if let Some(byte) = bytes.get_mut(at + i) {
            *byte = (value >> shift) as u8;
        }
    }
    format!("{value} written to {width} bytes at {at}")
}

/// Removes, repeats or inserts a run of bytes.
fn shift(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) -> String {
    let from = at(bytes, rng);
    let to = (from + rng.random_range(1..=40)).min(bytes.len());
    let from = from.min(to);
    let stretch: Vec<u8> = match rng.random_range(0..3) {
        0 => {
            bytes.drain(from..to);
            return format!("without bytes {from} to {to}");
        }
        1 => bytes[from..to].repeat(rng.random_range(1..=20)),
        _ => (from..to).map(|_| rng.random()).collect(),
    };
    let length = stretch.len();
    bytes.splice(from..from, stretch);
    format!("{length} bytes put in at {from}")
}

/// Corrects the checksums of a PNG's chunks as far as their lengths lead.
fn correct_checksums(bytes: &mut [u8]) {
    let mut offset = 8;
    while let Some(length) = bytes.get(offset..offset + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let end = offset.saturating_add(8).saturating_add(length);
        if end.saturating_add(4) > bytes.len() {
            return;
        }
        let sum = crc32fast::hash(&bytes[offset + 4..end]);
        bytes[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        offset = end + 4;
    }
}
