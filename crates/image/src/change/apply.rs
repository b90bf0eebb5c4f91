//! Applies changes to pictures.

use std::io::Cursor;

use image::{Rgb, RgbImage, codecs::jpeg::JpegEncoder, imageops};

use crate::{
    change::{
        kind::{BLUR_REFERENCE_SIDE, Change},
        paint::{BLACK, WHITE, fill, grey, map_pixels, resized, rotate, text},
    },
    decode::decode_rgb,
    types::{error::ImageError, kind::Kind},
};

impl Change {
    /// Returns the changed picture, which has at least one pixel.
    ///
    /// # Errors
    /// [`ImageError::Resize`], and [`ImageError::Malformed`] if the picture is too large for JPEG.
    pub fn apply(&self, picture: &RgbImage) -> Result<RgbImage, ImageError> {
        let (width, height) = picture.dimensions();
        let shorter = width.min(height);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates to the range of sides"
        )]
        let part_of = |side: u32, fraction: f64| (f64::from(side) * fraction).round() as u32;
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
                let size = |of| part_of(of, factor).max(1);
                return resized(picture, size(width), size(height));
            }
            Change::Crop { fraction, x, y } => {
                let left = |of, at: f64| part_of(of, fraction * at).min(of - 1);
                let size = |of, from| part_of(of, 1.0 - fraction).clamp(1, of - from);
                let (left, top) = (left(width, x), left(height, y));
                let part =
                    imageops::crop_imm(picture, left, top, size(width, left), size(height, top));
                return Ok(part.to_image());
            }
            Change::Mirror => imageops::flip_horizontal_in_place(&mut made),
            Change::Rotate(degrees) => rotate(picture, &mut made, degrees),
            Change::Channels(factors) => map_pixels(&mut made, |rgb| {
                std::array::from_fn(|c| rgb[c] * factors[c])
            }),
            Change::Contrast(factor) => {
                let pixels = picture.pixels().map(|pixel| grey(pixel.0.map(f64::from)));
                let mean = pixels.sum::<f64>() / f64::from(width * height);
                map_pixels(&mut made, |rgb| {
                    rgb.map(|channel| mean + (channel - mean) * factor)
                });
            }
            Change::Saturation(factor) => map_pixels(&mut made, |rgb| {
                let grey = grey(rgb);
                rgb.map(|channel| grey + (channel - grey) * factor)
            }),
            Change::Blur(deviation) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a deviation rounds to single precision"
                )]
                let pixels = (deviation * f64::from(shorter) / BLUR_REFERENCE_SIDE) as f32;
                return Ok(imageops::fast_blur(picture, pixels));
            }
            Change::Caption {
                fraction,
                top,
                paper,
                ink,
            } => {
                let band = part_of(height, fraction);
                let first_row = if top { 0 } else { height - band };
                fill(&mut made, (0, first_row), (width, band), paper, 1.0);
                let size = band / 4;
                for line in 0..2 {
                    let corner = (width / 16, first_row + size / 2 + line * (size + size / 2));
                    text(&mut made, corner, width - width / 8, size, ink, 1.0);
                }
            }
            Change::Border { fraction, colour } => {
                let wide = part_of(shorter, fraction);
                let around = RgbImage::from_pixel(width + 2 * wide, height + 2 * wide, Rgb(colour));
                made = around;
                imageops::replace(&mut made, picture, wide.into(), wide.into());
            }
            Change::Watermark(opacity) => {
                let size = (height / 20).max(1);
                for (row, top) in (0..height).step_by(4 * size as usize).enumerate() {
                    let left = if row % 2 == 0 { 0 } else { width / 8 };
                    text(&mut made, (left, top), width - left, size, WHITE, opacity);
                }
            }
            Change::Screenshot => {
                let (bar, side) = (part_of(height, 0.12), part_of(width, 0.04));
                let size = (width + 2 * side, height + 2 * bar);
                made = RgbImage::from_pixel(size.0, size.1, Rgb([244, 244, 246]));
                fill(&mut made, (0, 0), (size.0, bar / 2), [28, 30, 38], 1.0);
                for (top, ink) in [(bar / 8, WHITE), (bar + height + bar / 3, BLACK)] {
                    text(
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
            Change::Patch {
                x,
                y,
                width: wide,
                height: high,
                colour,
            } => {
                let (from, size) = (
                    (part_of(width, x), part_of(height, y)),
                    (part_of(width, wide), part_of(height, high)),
                );
                fill(&mut made, from, size, colour, 1.0);
            }
        }
        Ok(made)
    }
}

/// Applies changes in order.
///
/// # Errors
/// Those of [`Change::apply`].
pub fn apply_all(picture: &RgbImage, changes: &[Change]) -> Result<RgbImage, ImageError> {
    changes
        .iter()
        .try_fold(picture.clone(), |picture, change| change.apply(&picture))
}
