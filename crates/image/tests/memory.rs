//! The memory that decoding really takes, counted by the allocator, against the limit computed from
//! headers. A single test, because the counts are of the whole process.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a test are small"
)]
#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

mod prefix_codes;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Cursor, Write},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use flate2::{Compression, write::ZlibEncoder};
use image::{DynamicImage, ImageFormat, codecs::jpeg::JpegEncoder};
use scihcgrl_image::{ImageError, Input, MAX_MEMORY, decode, required_memory};

/// The system's allocator, with counts of the bytes in use and of their peak.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let made = work();
    (PEAK.load(Relaxed) - before, made)
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [name, data].concat();
    let length = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&length[..], &named, &crc32fast::hash(&named).to_be_bytes()].concat()
}

/// Returns compressed zeros.
fn zeros(count: usize) -> Vec<u8> {
    let mut file = ZlibEncoder::new(Vec::new(), Compression::best());
    for _ in 0..count >> 20 {
        file.write_all(&[0; 1 << 20]).unwrap();
    }
    file.finish().unwrap()
}

/// Inserts a chunk between a PNG's header and its pixels.
fn with_chunk(png: &[u8], chunk: &[u8]) -> Vec<u8> {
    [&png[..33], chunk, &png[33..]].concat()
}

fn riff(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (name, data) in chunks {
        body.extend([*name, &prefix_codes::length(data)[..], data].concat());
        body.resize(body.len().next_multiple_of(2), 0);
    }
    [b"RIFF", &prefix_codes::length(&body)[..], &body].concat()
}

fn pictures() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in std::fs::read_dir("../../tests/fixtures").unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            all.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
    let rgb = DynamicImage::new_rgb8(1501, 1003);
    let kinds = [
        ("rgb", rgb.clone()),
        ("rgba", DynamicImage::new_rgba8(1501, 1003)),
        ("grey", DynamicImage::new_luma8(1501, 1003)),
        ("rgb16", DynamicImage::new_rgb16(1501, 1003)),
        ("rgba16", DynamicImage::new_rgba16(1501, 1003)),
        ("grey16", DynamicImage::new_luma16(1501, 1003)),
        ("rgb32f", DynamicImage::new_rgb32f(1501, 1003)),
        ("rgba32f", DynamicImage::new_rgba32f(1501, 1003)),
    ];
    for (kind, picture) in &kinds {
        for format in [
            ImageFormat::Png,
            ImageFormat::Tiff,
            ImageFormat::Bmp,
            ImageFormat::WebP,
            ImageFormat::Gif,
        ] {
            let mut file = Cursor::new(Vec::new());
            if picture.write_to(&mut file, format).is_ok() {
                all.push((format!("{kind} {format:?}"), file.into_inner()));
            }
        }
    }
    let mut jpeg = Vec::new();
    JpegEncoder::new(&mut jpeg).encode_image(&rgb).unwrap();
    all.push(("jpeg".to_owned(), jpeg.clone()));
    jpeg.truncate(jpeg.len() - 2);
    all.push(("jpeg without its end".to_owned(), jpeg));
    // The frame header states a larger size than the coded pixels have.
    let mut progressive = include_bytes!("../../../tests/fixtures/progressive.jpg").to_vec();
    let frame = progressive.windows(2).position(|pair| pair == [0xff, 0xc2]);
    let offset = frame.unwrap() + 5;
    progressive[offset..offset + 4].copy_from_slice(&[0x0b, 0xb8, 0x0f, 0xa0]);
    all.push(("progressive".to_owned(), progressive));

    let png = encoded(&DynamicImage::new_rgba8(8, 8), ImageFormat::Png);
    let bomb = zeros(100 << 20);
    for (name, head) in [
        (b"iCCP", &b"profile\0\0"[..]),
        (b"zTXt", &b"text\0\0"[..]),
        (b"iTXt", &b"text\0\x01\0\0\0"[..]),
    ] {
        let chunk = chunk(name, &[head, &bomb].concat());
        all.push((
            format!("a bomb in {}", String::from_utf8_lossy(name)),
            with_chunk(&png, &chunk),
        ));
    }
    let mut turned = encoded(&DynamicImage::new_rgba16(1501, 1003), ImageFormat::Png);
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    turned = with_chunk(&turned, &chunk(b"eXIf", exif));
    all.push(("turned".to_owned(), turned));

    // A lossless and a lossy frame without coded data, and a lossy frame in a canvas of one pixel.
    let lossless = [
        &[0x2f][..],
        &((16_000u32 - 1) | (1000 - 1) << 14).to_le_bytes(),
        &[0; 8],
    ]
    .concat();
    let lossy = [
        &[0x10, 0x02, 0, 0x9d, 0x01, 0x2a][..],
        &16_000u16.to_le_bytes(),
        &1_000u16.to_le_bytes(),
        &[0; 16],
    ]
    .concat();
    let mut claimed = lossy.clone();
    claimed[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    all.push(("webp".to_owned(), riff(&[(b"VP8L", lossless.clone())])));
    all.push(("lossy webp".to_owned(), riff(&[(b"VP8 ", lossy.clone())])));
    all.push((
        "webp in a small canvas".to_owned(),
        riff(&[(b"VP8X", vec![0; 10]), (b"VP8 ", claimed.clone())]),
    ));
    // The maximum number of groups that are decoded in this process.
    all.push(("deep codes".to_owned(), prefix_codes::lossless(2_800, true)));
    all.push((
        "many codes".to_owned(),
        prefix_codes::lossless(1 << 16, false),
    ));
    let canvas = [&[0x12, 0, 0, 0][..], &[0x7f, 0x3e, 0, 0xe7, 0x03, 0]].concat();
    let frame = |name: &[u8; 4], data: &[u8]| {
        let head = [&[0; 6][..], &[0x7f, 0x3e, 0, 0xe7, 0x03, 0, 0, 0, 0, 0]].concat();
        [&head[..], name, &prefix_codes::length(data), data].concat()
    };
    for (name, data) in [(b"VP8L", &lossless), (b"VP8 ", &lossy), (b"VP8 ", &claimed)] {
        all.push((
            format!("an animation of {}", data.len()),
            riff(&[
                (b"VP8X", canvas.clone()),
                (b"ANIM", vec![0; 6]),
                (b"ANMF", frame(name, data)),
            ]),
        ));
    }
    // A frame of 4000 × 3000 in a screen of one pixel, and a screen of 4000 × 3000.
    for (screen, frame) in [
        ([1, 0, 1, 0], [0xa0, 0x0f, 0xb8, 0x0b]),
        ([0xa0, 0x0f, 0xb8, 0x0b], [9, 0, 9, 0]),
    ] {
        let head = [
            b"GIF89a",
            &screen[..],
            &[0x80, 0, 0, 0, 0, 0, 255, 255, 255],
        ]
        .concat();
        let data = [
            &[0x2c, 0, 0, 0, 0][..],
            &frame,
            &[0, 2, 2, 0x44, 1, 0, 0x3b],
        ]
        .concat();
        all.push((format!("a frame of {frame:?}"), [head, data].concat()));
    }
    all
}

#[test]
fn decoding_takes_no_more_memory_than_the_headers_say() {
    let mut read = 0;
    for (name, bytes) in pictures() {
        let (headers, limit) = peak(|| required_memory(&bytes));
        let (taken, decoded) = peak(|| decode(&bytes, Input::stretched(224)));
        assert!(headers < 64 << 10, "{name}: headers take {headers}");
        match limit {
            Ok(limit) => {
                assert!(taken as u64 <= limit, "{name}: {taken} is above {limit}");
                assert!(limit <= MAX_MEMORY);
                read += usize::from(decoded.is_ok());
                if taken > 1 << 20 {
                    println!(
                        "{name}: {taken}, {:.2} of the limit",
                        taken as f64 / limit as f64
                    );
                }
            }
            Err(error) => {
                assert!(taken < 64 << 10, "{name}: {taken} for {error}");
                let kind = |error: &ImageError| std::mem::discriminant(error);
                assert_eq!(kind(&decoded.unwrap_err()), kind(&error), "{name}");
            }
        }
    }
    assert!(read > 30, "{read} pictures");
}
