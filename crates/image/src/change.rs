//! What happens to a picture on its way to a copy: compressed, scaled, cut, recoloured, written on, framed.
//! The copies that quality is measured with and those that training learns from are both made here.

use std::io::Cursor;

use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder, imageops};
use rand::{Rng, seq::IndexedRandom};

use crate::{ImageError, Resize, decode_rgb, kind::Kind, scale};

const BLACK: [u8; 3] = [0; 3];
const WHITE: [u8; 3] = [255; 3];
/// The shorter side of the pictures that a blur's deviation is stated for, pixels.
pub const BLUR_SIDE: f64 = 192.0;

/// A change of a picture. Shares are of the picture's own sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Compressed as JPEG, at a quality of 1 to 100.
    Jpeg(u8),
    /// Scaled by a factor.
    Scale(f64),
    /// A share of each side cut off.
    Cut {
        /// The share, 0 to 1.
        share: f64,
        /// How much of it is cut off at the left, 0 to 1; the rest at the right.
        x: f64,
        /// How much of it is cut off at the top, 0 to 1; the rest at the bottom.
        y: f64,
    },
    /// Mirrored, left to right.
    Mirror,
    /// Turned about its middle by degrees, counter-clockwise, at its own size. The corners are black.
    Turn(f64),
    /// Each channel multiplied by its factor, 0 to 255 kept.
    Channels([f64; 3]),
    /// How far each channel is from the mean of the picture, multiplied.
    Contrast(f64),
    /// How far each channel is from the pixel's grey, multiplied: 0 leaves grey alone.
    Saturation(f64),
    /// Blurred: the Gaussian's deviation, in pixels of a picture whose shorter side is [`BLUR_SIDE`].
    Blur(f64),
    /// A band with two lines of words over it.
    Caption {
        /// The band's share of the height.
        share: f64,
        /// Whether it is at the top, not at the bottom.
        top: bool,
        /// The band's colour.
        paper: [u8; 3],
        /// The words' colour.
        ink: [u8; 3],
    },
    /// A frame around it.
    Border {
        /// How wide, as a share of the shorter side.
        share: f64,
        /// Its colour.
        colour: [u8; 3],
    },
    /// Rows of words across the picture, of an opacity of 0 to 1.
    Watermark(f64),
    /// The picture on a telephone's screen, with bars and words above and below it.
    Screenshot,
    /// A rectangle of one colour over it, by shares.
    Blot {
        /// Where it begins from the left.
        x: f64,
        /// Where it begins from the top.
        y: f64,
        /// How wide it is.
        width: f64,
        /// How high it is.
        height: f64,
        /// Its colour.
        colour: [u8; 3],
    },
}

/// The copies that quality is measured with, by name.
pub const COPIES: [(&str, &[Change]); 21] = {
    use Change::*;
    const fn cut(share: f64) -> Change {
        Cut {
            share,
            x: 0.5,
            y: 0.5,
        }
    }
    const CAPTION: Change = Caption {
        share: 0.25,
        top: false,
        paper: WHITE,
        ink: BLACK,
    };
    [
        ("the same file", &[]),
        ("JPEG quality 30", &[Jpeg(30)]),
        ("JPEG quality 10", &[Jpeg(10)]),
        ("half the size", &[Scale(0.5)]),
        ("a tenth cut off", &[cut(0.1)]),
        ("three tenths cut off", &[cut(0.3)]),
        (
            "a quarter cut off at a corner",
            &[Cut {
                share: 0.25,
                x: 0.0,
                y: 1.0,
            }],
        ),
        ("mirrored", &[Mirror]),
        ("turned by 5°", &[Turn(5.0)]),
        ("brighter", &[Channels([1.4; 3])]),
        ("darker", &[Channels([0.6; 3])]),
        ("grey", &[Saturation(0.0)]),
        ("warmer", &[Channels([1.15, 1.0, 0.8])]),
        ("a caption over a quarter", &[CAPTION]),
        (
            "a border",
            &[Border {
                share: 0.08,
                colour: BLACK,
            }],
        ),
        ("a watermark", &[Watermark(0.45)]),
        ("a screenshot", &[Screenshot]),
        ("half the size, JPEG quality 40", &[Scale(0.5), Jpeg(40)]),
        ("cut and darker", &[cut(0.15), Channels([0.75; 3])]),
        ("mirrored, with a caption", &[Mirror, CAPTION]),
        ("blurred", &[Blur(2.0)]),
    ]
};

impl Change {
    /// A random change, as training draws it.
    pub fn random(rng: &mut impl Rng) -> Change {
        let kind = rng.random_range(0..14);
        let mut between = |low: f64, high: f64| low + (high - low) * rng.random::<f64>();
        match kind {
            0 => Change::Jpeg(between(8.0, 60.0) as u8),
            1 => Change::Scale(between(0.2, 0.8)),
            2 | 3 => Change::Cut {
                share: between(0.05, 0.4),
                x: between(0.0, 1.0),
                y: between(0.0, 1.0),
            },
            4 => Change::Mirror,
            5 => Change::Turn(between(-10.0, 10.0)),
            6 => Change::Channels([between(0.5, 1.6); 3]),
            7 => {
                let all = between(0.8, 1.2);
                Change::Channels([0; 3].map(|_| all * between(0.75, 1.25)))
            }
            8 => match between(0.0, 1.0) {
                ..0.5 => Change::Saturation(between(0.0, 1.8)),
                _ => Change::Contrast(between(0.5, 1.5)),
            },
            9 => Change::Blur(between(0.5, 3.0)),
            10 => {
                let inks = [(WHITE, BLACK), (BLACK, WHITE), ([128; 3], [200, 0, 0])];
                let (share, top) = (between(0.1, 0.3), between(0.0, 1.0) < 0.5);
                let &(paper, ink) = inks.choose(rng).unwrap_or(&inks[0]);
                Change::Caption {
                    share,
                    top,
                    paper,
                    ink,
                }
            }
            11 => Change::Border {
                share: between(0.02, 0.15),
                colour: [between(0.0, 256.0) as u8; 3],
            },
            12 => Change::Watermark(between(0.2, 0.7)),
            _ => {
                let (width, height) = (between(0.1, 0.4), between(0.1, 0.4));
                Change::Blot {
                    x: between(0.0, 1.0 - width),
                    y: between(0.0, 1.0 - height),
                    width,
                    height,
                    colour: [0; 3].map(|_| between(0.0, 256.0) as u8),
                }
            }
        }
    }

    /// Makes the changed picture, which has at least one pixel.
    ///
    /// # Errors
    /// [`ImageError::Resize`], and [`ImageError::Malformed`] if a picture is too large for JPEG.
    pub fn apply(&self, picture: &RgbImage) -> Result<RgbImage, ImageError> {
        let (width, height) = picture.dimensions();
        let shorter = f64::from(width.min(height));
        let share = |of: u32, share: f64| (f64::from(of) * share).round() as u32;
        let mut made = picture.clone();
        match *self {
            Change::Jpeg(quality) => {
                let mut file = Cursor::new(Vec::new());
                JpegEncoder::new_with_quality(&mut file, quality)
                    .encode_image(picture)
                    .map_err(|error| Kind::Jpeg.malformed(error))?;
                return decode_rgb(&file.into_inner());
            }
            Change::Scale(factor) => {
                let size = |of| share(of, factor).max(1);
                return resized(picture, size(width), size(height));
            }
            Change::Cut { share: off, x, y } => {
                let left = |of, at: f64| share(of, off * at).min(of - 1);
                let size = |of, from| share(of, 1.0 - off).clamp(1, of - from);
                let (left, top) = (left(width, x), left(height, y));
                let part =
                    imageops::crop_imm(picture, left, top, size(width, left), size(height, top));
                return Ok(part.to_image());
            }
            Change::Mirror => imageops::flip_horizontal_in_place(&mut made),
            Change::Turn(degrees) => turn(picture, &mut made, degrees),
            Change::Channels(factors) => each(&mut made, |rgb| {
                std::array::from_fn(|c| rgb[c] * factors[c])
            }),
            Change::Contrast(factor) => {
                let pixels = picture.pixels().map(|pixel| grey(pixel.0.map(f64::from)));
                let mean = pixels.sum::<f64>() / f64::from(width * height);
                each(&mut made, |rgb| {
                    rgb.map(|channel| mean + (channel - mean) * factor)
                });
            }
            Change::Saturation(factor) => each(&mut made, |rgb| {
                let grey = grey(rgb);
                rgb.map(|channel| grey + (channel - grey) * factor)
            }),
            Change::Blur(deviation) => {
                return Ok(imageops::fast_blur(
                    picture,
                    (deviation * shorter / BLUR_SIDE) as f32,
                ));
            }
            Change::Caption {
                share: band,
                top,
                paper,
                ink,
            } => {
                let band = share(height, band);
                let from = if top { 0 } else { height - band };
                fill(&mut made, (0, from), (width, band), paper, 1.0);
                let size = band / 4;
                for line in 0..2 {
                    let at = (width / 16, from + size / 2 + line * (size + size / 2));
                    words(&mut made, at, width - width / 8, size, ink, 1.0);
                }
            }
            Change::Border {
                share: wide,
                colour,
            } => {
                let wide = (shorter * wide).round() as u32;
                let around = RgbImage::from_pixel(width + 2 * wide, height + 2 * wide, Rgb(colour));
                made = around;
                imageops::replace(&mut made, picture, wide.into(), wide.into());
            }
            Change::Watermark(opacity) => {
                let size = (height / 20).max(1);
                for (row, top) in (0..height).step_by(4 * size as usize).enumerate() {
                    let left = if row % 2 == 0 { 0 } else { width / 8 };
                    words(&mut made, (left, top), width - left, size, WHITE, opacity);
                }
            }
            Change::Screenshot => {
                let (bar, side) = (share(height, 0.12), share(width, 0.04));
                let size = (width + 2 * side, height + 2 * bar);
                made = RgbImage::from_pixel(size.0, size.1, Rgb([244, 244, 246]));
                fill(&mut made, (0, 0), (size.0, bar / 2), [28, 30, 38], 1.0);
                for (top, ink) in [(bar / 8, WHITE), (bar + height + bar / 3, BLACK)] {
                    words(
                        &mut made,
                        (side, top),
                        width / 2,
                        (bar / 4).max(1),
                        ink,
                        1.0,
                    );
                }
                imageops::replace(&mut made, picture, side.into(), (bar * 3 / 4).into());
            }
            Change::Blot {
                x,
                y,
                width: wide,
                height: high,
                colour,
            } => {
                let (from, size) = (
                    (share(width, x), share(height, y)),
                    (share(width, wide), share(height, high)),
                );
                fill(&mut made, from, size, colour, 1.0);
            }
        }
        Ok(made)
    }
}

/// Applies changes one after the other.
///
/// # Errors
/// As [`Change::apply`].
pub fn all(picture: &RgbImage, changes: &[Change]) -> Result<RgbImage, ImageError> {
    changes
        .iter()
        .try_fold(picture.clone(), |picture, change| change.apply(&picture))
}

/// Applies one to three random changes.
///
/// # Errors
/// As [`Change::apply`].
pub fn random(picture: &RgbImage, rng: &mut impl Rng) -> Result<RgbImage, ImageError> {
    let changes: Vec<Change> = (0..rng.random_range(1..=3))
        .map(|_| Change::random(rng))
        .collect();
    all(picture, &changes)
}

fn resized(picture: &RgbImage, width: u32, height: u32) -> Result<RgbImage, ImageError> {
    let bytes = scale(picture, width, height, Resize::Stretch)?;
    RgbImage::from_raw(width, height, bytes)
        .ok_or_else(|| ImageError::Resize("it has too few bytes".into()))
}

fn each(picture: &mut RgbImage, change: impl Fn([f64; 3]) -> [f64; 3]) {
    for pixel in picture.pixels_mut() {
        // The cast keeps to 0…255.
        pixel.0 = change(pixel.0.map(f64::from)).map(|channel| channel.round() as u8);
    }
}

fn grey([r, g, b]: [f64; 3]) -> f64 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Mixes a colour into a rectangle, as far as it lies in the picture.
fn fill(picture: &mut RgbImage, from: (u32, u32), size: (u32, u32), colour: [u8; 3], opacity: f64) {
    let (width, height) = picture.dimensions();
    for y in from.1..(from.1 + size.1).min(height) {
        for x in from.0..(from.0 + size.0).min(width) {
            let pixel = picture.get_pixel_mut(x, y);
            pixel.0 = std::array::from_fn(|c| {
                let old = f64::from(pixel.0[c]);
                (old + (f64::from(colour[c]) - old) * opacity).round() as u8
            });
        }
    }
}

/// A line of words, each letter a block, as wide as a line of text and of the size given.
fn words(
    picture: &mut RgbImage,
    (left, top): (u32, u32),
    width: u32,
    size: u32,
    ink: [u8; 3],
    opacity: f64,
) {
    let (stroke, step) = ((size / 2).max(1), (size * 3 / 4).max(2));
    for (letter, x) in (left..left + width.saturating_sub(stroke))
        .step_by(step as usize)
        .enumerate()
    {
        // A space after words of five and three letters; some letters are low.
        let low = [0, 2, 3, 7].contains(&(letter % 10));
        if ![5, 9].contains(&(letter % 10)) {
            let down = if low { size / 3 } else { 0 };
            fill(
                picture,
                (x, top + down),
                (stroke, size - down),
                ink,
                opacity,
            );
        }
    }
}

/// Turns a picture about its middle; each pixel is mixed of the four nearest.
fn turn(picture: &RgbImage, made: &mut RgbImage, degrees: f64) {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = picture.dimensions();
    let middle = (f64::from(width - 1) / 2.0, f64::from(height - 1) / 2.0);
    let at = |x: i64, y: i64, channel: usize| {
        let within = (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y);
        match within {
            true => f64::from(picture.get_pixel(x as u32, y as u32).0[channel]),
            false => 0.0,
        }
    };
    for (x, y, pixel) in made.enumerate_pixels_mut() {
        let (right, down) = (f64::from(x) - middle.0, f64::from(y) - middle.1);
        let (x, y) = (
            middle.0 + cos * right - sin * down,
            middle.1 + sin * right + cos * down,
        );
        let (left, top) = (x.floor(), y.floor());
        let (right, down) = (x - left, y - top);
        let (left, top) = (left as i64, top as i64);
        pixel.0 = std::array::from_fn(|c| {
            let upper = at(left, top, c) * (1.0 - right) + at(left + 1, top, c) * right;
            let lower = at(left, top + 1, c) * (1.0 - right) + at(left + 1, top + 1, c) * right;
            (upper * (1.0 - down) + lower * down).round() as u8
        });
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn ramp(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 250 / width) as u8, (y * 250 / height) as u8, 60])
        })
    }

    fn differs(one: &RgbImage, other: &RgbImage) -> f64 {
        assert_eq!(one.dimensions(), other.dimensions());
        let pairs = one.as_raw().iter().zip(other.as_raw());
        let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / one.as_raw().len() as f64
    }

    #[test]
    fn every_copy_is_of_its_size_and_none_but_the_first_is_the_same() {
        let picture = ramp(120, 80);
        for (name, changes) in COPIES {
            let copy = all(&picture, changes).unwrap();
            let size = match name {
                "half the size" | "half the size, JPEG quality 40" => (60, 40),
                "a tenth cut off" => (108, 72),
                "three tenths cut off" => (84, 56),
                "a quarter cut off at a corner" => (90, 60),
                "cut and darker" => (102, 68),
                "a border" => (132, 92),
                "a screenshot" => (130, 100),
                _ => (120, 80),
            };
            assert_eq!(copy.dimensions(), size, "{name}");
            if size == picture.dimensions() {
                let same = differs(&copy, &picture) == 0.0;
                assert_eq!(same, name == "the same file", "{name}");
            }
        }
    }

    #[test]
    fn a_change_does_what_it_says() {
        let picture = ramp(120, 80);
        let made = |change: Change| change.apply(&picture).unwrap();
        let twice = Change::Mirror.apply(&made(Change::Mirror)).unwrap();
        assert_eq!(twice, picture);
        assert_eq!(made(Change::Turn(0.0)), picture);
        let back = Change::Turn(-5.0).apply(&made(Change::Turn(5.0))).unwrap();
        let middle = |picture: &RgbImage| imageops::crop_imm(picture, 40, 30, 40, 20).to_image();
        assert!(differs(&middle(&back), &middle(&picture)) < 1.0);
        // Counter-clockwise: what is at the right goes up.
        let mut spot = RgbImage::new(101, 101);
        spot.put_pixel(90, 50, Rgb(WHITE));
        let turned = Change::Turn(90.0).apply(&spot).unwrap();
        assert_eq!(turned.get_pixel(50, 10).0, WHITE);
        let grey = made(Change::Saturation(0.0));
        assert!(grey.pixels().all(|Rgb([r, g, b])| r == g && g == b));
        assert_eq!(made(Change::Channels([1.0; 3])), picture);
        assert_eq!(made(Change::Contrast(1.0)), picture);
        assert_eq!(
            made(Change::Channels([2.0, 0.0, 1.0])).get_pixel(119, 79).0,
            [255, 0, 60]
        );
    }

    #[test]
    fn random_changes_are_the_same_for_a_seed_and_stand_any_size() {
        for (width, height) in [(1, 1), (1, 9), (7, 3), (64, 48)] {
            let picture = ramp(width, height);
            for seed in 0..200 {
                let made = |seed| {
                    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
                    random(&picture, &mut rng).unwrap()
                };
                assert_eq!(made(seed), made(seed));
            }
            for (_, changes) in COPIES {
                assert!(all(&picture, changes).unwrap().width() > 0);
            }
        }
    }
}
