//! Real files of every format, and broken ones, through what callers use.

#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

use image::RgbImage;
use scihcgrl_image::{Input, Resize, decode, decode_rgb};

macro_rules! fixtures {
    ($($name:literal),+) => { [$(include_bytes!(concat!("../../../tests/fixtures/", $name)) as &[u8]),+] };
}

const COLOURED: [&[u8]; 6] = fixtures![
    "upright.jpg",
    "rotated.jpg",
    "cmyk.jpg",
    "small.webp",
    "small.bmp",
    "small.tiff"
];

fn near(picture: &RgbImage, x: u32, y: u32, expected: [u8; 3], tolerance: u8) {
    let found = picture.get_pixel(x, y).0;
    let close = (0..3).all(|c| found[c].abs_diff(expected[c]) <= tolerance);
    assert!(close, "{found:?} is not {expected:?} at {x}, {y}");
}

#[test]
fn colours_survive_every_format_and_depth() {
    for bytes in COLOURED {
        let picture = decode_rgb(bytes).unwrap();
        let (width, height) = picture.dimensions();
        near(&picture, 2, 2, [200, 30, 30], 12);
        near(&picture, width - 3, 2, [30, 160, 60], 12);
        near(&picture, 2, height - 3, [30, 60, 200], 12);
        near(&picture, width - 3, height - 3, [240; 3], 12);
    }
    let [grey, gif, deep, alpha] = fixtures!["grey.jpg", "animated.gif", "deep.png", "alpha.png"]
        .map(|bytes| decode_rgb(bytes).unwrap());
    near(&grey, 2, 2, [81; 3], 3);
    near(&gif, 5, 5, [250, 0, 0], 8);
    near(&deep, 1, 0, [128, 255, 16], 1);
    near(&alpha, 0, 0, [255, 0, 0], 0);
    near(&alpha, 0, 15, [127; 3], 0);
    near(&alpha, 15, 15, [255; 3], 0);
}

#[test]
fn the_size_is_that_of_the_upright_picture() {
    let [rotated, one] = fixtures!["rotated.jpg", "one.png"];
    let decoded = decode(rotated, Input::stretched(8)).unwrap();
    assert_eq!((decoded.width, decoded.height), (48, 32));
    assert_eq!(decoded.media_type, "image/jpeg");
    let one = decode(one, Input::stretched(4)).unwrap().pixels;
    assert_eq!((one.size, one.rgb), (4, [10, 20, 30].repeat(16)));
}

#[test]
fn declared_size_is_refused_undecoded() {
    for bytes in fixtures!["huge.png", "huge.bmp", "huge.gif", "huge.tiff"] {
        let error = decode(bytes, Input::stretched(8)).unwrap_err();
        assert!(error.to_string().contains("50000 × 50000"), "{error}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    for bytes in COLOURED.into_iter().chain(fixtures!["deep.png"]) {
        for length in 0..bytes.len() - 12 {
            assert!(
                decode(&bytes[..length], Input::stretched(8)).is_err(),
                "{length} bytes"
            );
        }
    }
}

proptest::proptest! {
    #[test]
    fn a_changed_byte_gives_an_error_or_all_pixels(at in 0usize..700, byte: u8) {
        let mut bytes = COLOURED[0].to_vec();
        bytes[at] = byte;
        if let Ok(decoded) = decode(&bytes, Input::stretched(8)) {
            proptest::prop_assert_eq!(decoded.pixels.rgb.len(), 8 * 8 * 3);
        }
    }
}

#[test]
fn a_picture_is_stretched_or_its_middle_is_taken() {
    let picture = RgbImage::from_fn(30, 10, |x, _| {
        image::Rgb([[250, 0, 0], [0, 250, 0], [0, 0, 250]][x as usize / 10])
    });
    let input = |resize| Input { side: 10, resize };
    let red = |pixels: &scihcgrl_image::Pixels| pixels.rgb[0];
    let stretched = scihcgrl_image::resize(&picture, input(Resize::Stretch)).unwrap();
    assert!(red(&stretched) > 200);
    let cropped = scihcgrl_image::resize(&picture, input(Resize::Crop)).unwrap();
    assert_eq!(cropped.rgb, [0, 250, 0].repeat(100));
}
