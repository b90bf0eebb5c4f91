//! Random changes, for training.

use image::RgbImage;
use rand::{Rng, seq::IndexedRandom};

use crate::{
    change::{
        apply::apply_all,
        kind::Change,
        paint::{BLACK, WHITE},
    },
    types::error::ImageError,
};

impl Change {
    /// Draws a random change.
    pub fn random(rng: &mut impl Rng) -> Change {
        let kind = rng.random_range(0..14);
        let mut between = |low: f64, high: f64| low + (high - low) * rng.random::<f64>();
        match kind {
            0 => Change::Jpeg(whole(between(8.0, 60.0))),
            1 => Change::Scale(between(0.2, 0.8)),
            2 | 3 => Change::Crop {
                fraction: between(0.05, 0.4),
                x: between(0.0, 1.0),
                y: between(0.0, 1.0),
            },
            4 => Change::Mirror,
            5 => Change::Rotate(between(-10.0, 10.0)),
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
                let (fraction, top) = (between(0.1, 0.3), between(0.0, 1.0) < 0.5);
                let &(paper, ink) = inks.choose(rng).unwrap_or(&inks[0]);
                Change::Caption {
                    fraction,
                    top,
                    paper,
                    ink,
                }
            }
            11 => Change::Border {
                fraction: between(0.02, 0.15),
                colour: [whole(between(0.0, 256.0)); 3],
            },
            12 => Change::Watermark(between(0.2, 0.7)),
            _ => {
                let (width, height) = (between(0.1, 0.4), between(0.1, 0.4));
                Change::Patch {
                    x: between(0.0, 1.0 - width),
                    y: between(0.0, 1.0 - height),
                    width,
                    height,
                    colour: [0; 3].map(|_| whole(between(0.0, 256.0))),
                }
            }
        }
    }
}

/// Rounds down a number from 0 to below 256.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is 0 to below 256"
)]
fn whole(number: f64) -> u8 {
    number as u8
}

/// Applies one to three random changes.
///
/// # Errors
/// Those of [`Change::apply`].
pub fn apply_random(picture: &RgbImage, rng: &mut impl Rng) -> Result<RgbImage, ImageError> {
    let changes: Vec<Change> = (0..rng.random_range(1..=3))
        .map(|_| Change::random(rng))
        .collect();
    apply_all(picture, &changes)
}
