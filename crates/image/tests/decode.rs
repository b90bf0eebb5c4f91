//! Real and broken files of every format, decoded through the public functions.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a test are small"
)]
#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

use image::RgbImage;
use scihcgrl_image::{ImageError, Input, Part, PartError, Resize, decode, decode_part, decode_rgb};

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

fn assert_near(picture: &RgbImage, x: u32, y: u32, expected: [u8; 3], tolerance: u8) {
    let found = picture.get_pixel(x, y).0;
    let close = (0..3).all(|c| found[c].abs_diff(expected[c]) <= tolerance);
    assert!(close, "{found:?} is not {expected:?} at {x}, {y}");
}

#[test]
fn colours_survive_every_format_and_depth() {
    for bytes in COLOURED {
        let picture = decode_rgb(bytes).unwrap();
        let (width, height) = picture.dimensions();
        assert_near(&picture, 2, 2, [200, 30, 30], 12);
        assert_near(&picture, width - 3, 2, [30, 160, 60], 12);
        assert_near(&picture, 2, height - 3, [30, 60, 200], 12);
        assert_near(&picture, width - 3, height - 3, [240; 3], 12);
    }
    let [grey, gif, deep, alpha] = fixtures!["grey.jpg", "animated.gif", "deep.png", "alpha.png"]
        .map(|bytes| decode_rgb(bytes).unwrap());
    assert_near(&grey, 2, 2, [81; 3], 3);
    assert_near(&gif, 5, 5, [250, 0, 0], 8);
    assert_near(&deep, 1, 0, [128, 255, 16], 1);
    assert_near(&alpha, 0, 0, [255, 0, 0], 0);
    assert_near(&alpha, 0, 15, [127; 3], 0);
    assert_near(&alpha, 15, 15, [255; 3], 0);
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
fn oversized_pictures_are_refused_before_decoding() {
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

#[test]
fn decoding_a_part_equals_cropping_the_decoded_picture() {
    let [upright, rotated] = fixtures!["upright.jpg", "rotated.jpg"];
    let input = Input::stretched(8);
    let part = |text: &str| Some(text.parse::<Part>().unwrap());
    // The upright picture has 48 × 32 pixels, and corners of four colours.
    for (text, [x, y, width, height]) in [
        ("0,0,0.5,0.5", [0, 0, 24, 16]),
        ("0.5, 0.5, 0.5, 0.5", [24, 16, 24, 16]),
        ("0.25,0,0.125,1", [12, 0, 6, 32]),
        ("0,0,1,1", [0, 0, 48, 32]),
        // 0.7 + 0.3 in single precision.
        ("0.7,0,0.30000001,1", [34, 0, 14, 32]),
    ] {
        for bytes in [upright, rotated] {
            let decoded = decode_part(bytes, input, part(text)).unwrap();
            let whole = decode_rgb(bytes).unwrap();
            let cut = image::imageops::crop_imm(&whole, x, y, width, height).to_image();
            assert_eq!(
                decoded.pixels,
                scihcgrl_image::resize(&cut, input).unwrap(),
                "{text}"
            );
            assert_eq!((decoded.width, decoded.height), (48, 32));
        }
    }
    let small = decode_part(upright, input, part("0.5,0.5,0.001,0.5")).unwrap_err();
    assert!(small.to_string().contains("48 × 32 pixels"), "{small}");
}

#[test]
fn bad_parts_are_refused_with_a_reason() {
    for (text, words) in [
        ("", "four numbers"),
        ("0,0,1", "four numbers"),
        ("0,0,1,1,1", "four numbers"),
        ("0,0,1,wide", "four numbers"),
        ("-0.1,0,1,1", "x of the box is -0.1; it must be 0 to 1"),
        ("0,NaN,1,1", "y of the box is NaN; it must be 0 to 1"),
        ("0,0,0,1", "width of the box is 0.0; it must be above 0"),
        ("0,0,1,-1", "height of the box is -1.0; it must be above 0"),
        ("0,0,inf,1", "width of the box is inf; it must be above 0"),
        ("0.5,0,0.6,1", "right edge: x 0.5 and width 0.6"),
        ("0,0.5,1,0.6", "lower edge: y 0.5 and height 0.6"),
    ] {
        let error = text.parse::<Part>().unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn any_four_numbers_are_a_part_or_are_refused(
        numbers in proptest::collection::vec(
            proptest::prop_oneof![0.0..1.0, proptest::num::f64::ANY, 0.0..1e-3],
            4,
        ),
    ) {
        let text: Vec<String> = numbers.iter().map(f64::to_string).collect();
        match text.join(",").parse::<Part>() {
            Err(error) => assert!(matches!(error, PartError::Range { .. }), "{error}"),
            Ok(part) => match decode_part(COLOURED[0], Input::stretched(8), Some(part)) {
                Ok(decoded) => proptest::prop_assert_eq!(decoded.pixels.rgb.len(), 8 * 8 * 3),
                Err(error) => assert!(matches!(error, ImageError::Part(PartError::NoPixels { .. })), "{error}"),
            },
        }
    }
}
