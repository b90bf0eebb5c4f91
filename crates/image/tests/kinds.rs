//! Pictures as phones, cameras, scanners and office programs write them: decoded as they are meant
//! to be seen, or refused by name. `decode` is the decoder process, with the libraries that `make
//! libraries` installs.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a test are small"
)]
#![allow(clippy::unwrap_used)] // allow-unwrap: a test stops where it fails

mod prefix_codes;

use std::{
    path::{Path, PathBuf},
    sync::Once,
};

use image::{
    ImageEncoder, Rgb, RgbImage, Rgba, RgbaImage, codecs::webp::WebPEncoder, imageops::rotate90,
};
use scihcgrl_image::{
    ImageError, Input, decode, decode_rgb, decoder_failures, set_decoder_program,
};

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/kinds");
    std::fs::read(folder.join(name)).unwrap()
}

/// The picture that all fixtures show.
fn upright() -> RgbImage {
    decode_rgb(&fixture("upright.png")).unwrap()
}

/// Enables decoder processes.
fn enable_decoders() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| set_decoder_program(PathBuf::from(env!("CARGO_BIN_EXE_decode"))));
}

/// Returns the mean difference of two pictures' channels, 0 to 255.
fn difference(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let pairs = one.as_raw().iter().zip(other.as_raw());
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.as_raw().len() as f64
}

fn grey(picture: &RgbImage) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue] = picture.get_pixel(x, y).0.map(u32::from);
        let grey = (299 * red + 587 * green + 114 * blue + 500) / 1000;
        Rgb([u8::try_from(grey).unwrap(); 3])
    })
}

#[test]
fn every_kind_is_decoded_to_the_expected_picture() {
    enable_decoders();
    let upright = upright();
    let mut lighter = upright.clone();
    for (x, _, pixel) in lighter.enumerate_pixels_mut() {
        if x >= 24 {
            pixel.0 = pixel.0.map(|channel| channel.max(127));
        }
    }
    for (name, shows, tolerance) in [
        ("colours.heic", &upright, 2.0),
        ("turned.heic", &upright, 2.0),
        ("colours.avif", &upright, 2.0),
        ("colours.jxl", &upright, 0.0),
        ("arithmetic.jpg", &upright, 2.0),
        ("prefix.webp", &upright, 0.0),
        ("palette.tif", &upright, 4.0),
        ("ycbcr.tif", &upright, 4.0),
        ("grey-12-bits.tif", &grey(&upright), 1.0),
        ("grey-float.tif", &grey(&upright), 1.0),
        ("signed.tif", &upright, 1.0),
        ("big.tif", &upright, 0.0),
        ("tiles-of-planes.tif", &upright, 0.0),
        ("multiplied.tif", &lighter, 0.0),
    ] {
        let found = difference(&decode_rgb(&fixture(name)).unwrap(), shows);
        assert!(found <= tolerance, "{name}: {found}");
    }
    let fax = decode_rgb(&fixture("fax.tif")).unwrap();
    assert_eq!(fax.dimensions(), upright.dimensions());
    assert!(
        fax.pixels()
            .all(|pixel| matches!(pixel.0, [0, 0, 0] | [255, 255, 255]))
    );
    let white = fax.pixels().filter(|pixel| pixel.0[0] == 255).count() as f64;
    let light = grey(&upright)
        .pixels()
        .map(|pixel| f64::from(pixel.0[0]) / 255.0)
        .sum::<f64>();
    assert!((white / light - 1.0).abs() < 0.1, "{white} of {light}");
    for (name, media_type) in [
        ("turned.heic", "image/heic"),
        ("colours.avif", "image/avif"),
        ("colours.jxl", "image/jxl"),
    ] {
        let decoded = decode(&fixture(name), Input::stretched(8)).unwrap();
        assert_eq!(
            (decoded.media_type, decoded.width, decoded.height),
            (media_type, 48, 32)
        );
    }
}

#[test]
fn a_bmp_whose_alpha_is_all_zero_is_opaque() {
    let picture = decode_rgb(&fixture("bmp32-v4-alpha-all-zero.bmp")).unwrap();
    assert!(picture.pixels().any(|pixel| pixel.0 != [255; 3]));
}

#[test]
fn a_jpeg_without_its_end_is_read_if_its_pixels_are_there() {
    let ended = [&fixture("jpeg-no-eoi.jpg")[..], b"\xff\xd9"].concat();
    let whole = decode_rgb(&ended).unwrap();
    for name in ["jpeg-no-eoi.jpg", "jpeg-samsung-no-eoi.jpg"] {
        assert_eq!(decode_rgb(&fixture(name)).unwrap(), whole, "{name}");
    }
    let trailed = [&ended[..], b"SEFHk\0\0\0SEFT"].concat();
    assert_eq!(decode_rgb(&trailed).unwrap(), whole);
    let file = fixture("jpeg-no-eoi.jpg");
    for length in (0..file.len() - 2).step_by(7) {
        let cut = decode_rgb(&file[..length]);
        assert!(cut.is_err(), "{length} of {}", file.len());
    }
}

#[test]
fn a_png_without_its_end_or_with_a_wrong_checksum_is_read_if_its_pixels_are_there() {
    let (file, whole) = (fixture("upright.png"), upright());
    for length in file.len() - 12..file.len() {
        assert_eq!(decode_rgb(&file[..length]).unwrap(), whole, "{length}");
    }
    let offset = file.windows(4).position(|name| name == b"IDAT").unwrap();
    let length = u32::from_be_bytes(file[offset - 4..offset].try_into().unwrap()) as usize;
    let mut checksum = file.clone();
    checksum[offset + 4 + length] ^= 0x55;
    assert_eq!(decode_rgb(&checksum).unwrap(), whole);
    // Changed pixels do not match the checksum inside the compressed data. The last byte before
    // that checksum has unused bits.
    for changed in (offset + 6..offset + 4 + length - 5).step_by(5) {
        let mut pixels = file.clone();
        pixels[changed] ^= 0x10;
        assert!(decode_rgb(&pixels).is_err(), "{changed}");
    }
    let mut header = file.clone();
    header[29] ^= 0x55;
    assert!(decode_rgb(&header).is_err());
}

#[test]
fn unsupported_files_are_refused_by_name() {
    enable_decoders();
    let lab_alpha = b"II*\0\x08\0\0\0\x03\0\0\x01\x03\0\x01\0\0\0\x01\0\0\0\x01\x01\x03\0\x01\0\0\0\x01\0\0\0\x03\x01\x03\0\x01\0\0\0\x50\x88\0\0\0\0\0\0";
    let mut deep = fixture("jpeg-no-eoi.jpg");
    let frame = deep.windows(2).position(|pair| pair == [0xff, 0xc0]);
    deep[frame.unwrap() + 4] = 12;
    for (bytes, words) in [
        (&deep[..], "a JPEG of 12 bits per sample cannot be read"),
        (
            &fixture("jpeg-lossless.jpg")[..],
            "a lossless JPEG cannot be read",
        ),
        (b"%PDF-1.7", "a PDF is not a supported image format"),
        (
            b"PK\x03\x04",
            "a zip archive is not a supported image format",
        ),
        (
            b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
            "a video or sound file is not a supported image format",
        ),
        (
            b"nothing of the kind",
            "this content is not a supported image format",
        ),
        (lab_alpha, "libtiff"),
    ] {
        let error = decode_rgb(bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Returns a floating-point TIFF of 16 × 16 pixels in a tile of 30,000 × 30,000, which takes 3.6
/// GB.
fn vast_tile() -> Vec<u8> {
    let mut file = b"II*\0\x08\0\0\0\x0b\0".to_vec();
    for (tag, value) in [
        (256, 16),
        (257, 16),
        (258, 32),
        (259, 1),
        (262, 1),
        (277, 1),
        (322, 30_000),
        (323, 30_000),
        (324, 8),
        (325, 100),
        (339, 3),
    ] {
        file.extend(u16::to_le_bytes(tag));
        file.extend(b"\x04\0\x01\0\0\0");
        file.extend(u32::to_le_bytes(value));
    }
    file.extend([0; 200]);
    file
}

#[test]
fn a_limit_costs_one_picture_and_is_counted() {
    enable_decoders();
    let before = decoder_failures();
    let error = decode_rgb(&vast_tile()).unwrap_err();
    assert!(error.to_string().contains("too much memory"), "{error}");
    assert!(decoder_failures() > before);
    assert!(decode_rgb(&fixture("palette.tif")).is_ok());
}

#[test]
fn webp_prefix_codes_beyond_the_limit_are_refused() {
    enable_decoders();
    let before = decoder_failures();
    let file = prefix_codes::lossless(20_000, true);
    let error = decode_rgb(&file).unwrap_err().to_string();
    assert!(error.contains("too much memory"), "{error}");
    assert!(decoder_failures() > before);
}

#[test]
fn a_large_lossless_webp_is_decoded_exactly() {
    enable_decoders();
    let mut state = 1u32;
    let noise = RgbaImage::from_fn(400, 300, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, red, green, blue] = state.to_le_bytes();
        Rgba([red, green, blue, 255 * (state >> 31) as u8])
    });
    let mut file = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut file);
    let turned = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    encoder.set_exif_metadata(turned.to_vec()).unwrap();
    noise.write_with_encoder(encoder).unwrap();
    assert!(file.len() > 300_000, "{} bytes", file.len());
    let shown = rotate90(&noise);
    let white = RgbImage::from_fn(300, 400, |x, y| {
        let Rgba([red, green, blue, opacity]) = *shown.get_pixel(x, y);
        if opacity == 0 {
            Rgb([255; 3])
        } else {
            Rgb([red, green, blue])
        }
    });
    assert!(decode_rgb(&file).unwrap() == white);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn changed_bytes_give_an_error_or_all_pixels(
        file in 0usize..7,
        changes in proptest::collection::vec((0usize..4096, proptest::num::u8::ANY), 1..8),
    ) {
        enable_decoders();
        let name = ["colours.heic", "colours.avif", "colours.jxl", "arithmetic.jpg", "palette.tif", "fax.tif", "ycbcr.tif"][file];
        let mut bytes = fixture(name);
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        match decode(&bytes, Input::stretched(8)) {
            Ok(decoded) => proptest::prop_assert_eq!(decoded.pixels.rgb.len(), 8 * 8 * 3),
            Err(error) => proptest::prop_assert!(!matches!(error, ImageError::Resize(_)), "{}", error),
        }
    }
}
