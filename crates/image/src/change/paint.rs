//! Draws on pictures and changes all their pixels.

use image::RgbImage;

use crate::{
    resize::scale,
    types::{error::ImageError, input::Resize},
};

pub(super) const BLACK: [u8; 3] = [0; 3];
pub(super) const WHITE: [u8; 3] = [255; 3];

/// Stretches a picture to a width and a height.
pub(super) fn resized(picture: &RgbImage, width: u32, height: u32) -> Result<RgbImage, ImageError> {
    let bytes = scale(picture, width, height, Resize::Stretch)?;
    RgbImage::from_raw(width, height, bytes)
        .ok_or_else(|| ImageError::Resize("it has too few bytes".into()))
}

/// Replaces each pixel.
pub(super) fn map_pixels(picture: &mut RgbImage, change: impl Fn([f64; 3]) -> [f64; 3]) {
    for pixel in picture.pixels_mut() {
        pixel.0 = change(pixel.0.map(f64::from)).map(nearest_byte);
    }
}

/// Rounds a channel to 0…255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates to 0…255"
)]
fn nearest_byte(channel: f64) -> u8 {
    channel.round() as u8
}

/// Returns the brightness of a colour, by ITU-R BT.601.
pub(super) fn grey([r, g, b]: [f64; 3]) -> f64 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Mixes a colour into a rectangle, clipped to the picture.
pub(super) fn fill(
    picture: &mut RgbImage,
    from: (u32, u32),
    size: (u32, u32),
    colour: [u8; 3],
    opacity: f64,
) {
    let (width, height) = picture.dimensions();
    for y in from.1..(from.1 + size.1).min(height) {
        for x in from.0..(from.0 + size.0).min(width) {
            let pixel = picture.get_pixel_mut(x, y);
            pixel.0 = std::array::from_fn(|c| {
                let old = f64::from(pixel.0[c]);
                nearest_byte(old + (f64::from(colour[c]) - old) * opacity)
            });
        }
    }
}

/// Draws a line of text, with blocks as letters. `size` is the height of a tall letter.
pub(super) fn text(
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
        // Words of five and three letters alternate; some letters are low.
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

/// Rotates a picture about its middle into `made`. Each pixel is interpolated from the four
/// nearest.
pub(super) fn rotate(picture: &RgbImage, made: &mut RgbImage, degrees: f64) {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = picture.dimensions();
    let middle = (f64::from(width - 1) / 2.0, f64::from(height - 1) / 2.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "only coordinates within the picture are cast"
    )]
    let channel_at = |x: i64, y: i64, channel: usize| {
        let within = (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y);
        if within {
            f64::from(picture.get_pixel(x as u32, y as u32).0[channel])
        } else {
            0.0
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
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole numbers, less than a diagonal away from the picture"
        )]
        let (left, top) = (left as i64, top as i64);
        pixel.0 = std::array::from_fn(|c| {
            let upper =
                channel_at(left, top, c) * (1.0 - right) + channel_at(left + 1, top, c) * right;
            let lower = channel_at(left, top + 1, c) * (1.0 - right)
                + channel_at(left + 1, top + 1, c) * right;
            nearest_byte(upper * (1.0 - down) + lower * down)
        });
    }
}
