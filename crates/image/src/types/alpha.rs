//! Transparent pictures over a white background.

use ::image::{DynamicImage, Rgb, RgbImage};

/// How a picture's colours relate to its alpha channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpha {
    /// Colours do not depend on alpha.
    Straight,
    /// Colours are already multiplied by alpha.
    Premultiplied,
}

impl Alpha {
    /// Returns a channel of a pixel over white.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the mean of a channel and white, weighted by opacity, is at most 255"
    )]
    pub(crate) fn over_white(self, channel: u8, opacity: u8) -> u8 {
        let (channel, opacity) = (u32::from(channel), u32::from(opacity));
        match self {
            Alpha::Straight => ((channel * opacity + 255 * (255 - opacity) + 127) / 255) as u8,
            Alpha::Premultiplied => (channel + 255 - opacity).min(255) as u8,
        }
    }

    /// Lays a picture over white, with 8 bits per channel.
    pub(crate) fn flatten(self, picture: DynamicImage) -> RgbImage {
        if !picture.color().has_alpha() {
            return picture.into_rgb8();
        }
        let picture = picture.into_rgba8();
        RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
            let [red, green, blue, opacity] = picture.get_pixel(x, y).0;
            Rgb([red, green, blue].map(|channel| self.over_white(channel, opacity)))
        })
    }
}
