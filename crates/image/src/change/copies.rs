//! The copies of a picture that a model's evaluation searches with.

use crate::change::{
    kind::Change,
    paint::{BLACK, WHITE},
};

/// The names of the evaluation's copies, and the changes that make each one.
pub const EVALUATION_COPIES: [(&str, &[Change]); 21] = {
    use Change::{
        Blur, Border, Caption, Channels, Crop, Jpeg, Mirror, Rotate, Saturation, Scale, Screenshot,
        Watermark,
    };
    const fn crop(fraction: f64) -> Change {
        Crop {
            fraction,
            x: 0.5,
            y: 0.5,
        }
    }
    const CAPTION: Change = Caption {
        fraction: 0.25,
        top: false,
        paper: WHITE,
        ink: BLACK,
    };
    [
        ("the same file", &[]),
        ("JPEG quality 30", &[Jpeg(30)]),
        ("JPEG quality 10", &[Jpeg(10)]),
        ("half the size", &[Scale(0.5)]),
        ("a tenth cut off", &[crop(0.1)]),
        ("three tenths cut off", &[crop(0.3)]),
        (
            "a quarter cut off at a corner",
            &[Crop {
                fraction: 0.25,
                x: 0.0,
                y: 1.0,
            }],
        ),
        ("mirrored", &[Mirror]),
        ("turned by 5°", &[Rotate(5.0)]),
        ("brighter", &[Channels([1.4; 3])]),
        ("darker", &[Channels([0.6; 3])]),
        ("grey", &[Saturation(0.0)]),
        ("warmer", &[Channels([1.15, 1.0, 0.8])]),
        ("a caption over a quarter", &[CAPTION]),
        (
            "a border",
            &[Border {
                fraction: 0.08,
                colour: BLACK,
            }],
        ),
        ("a watermark", &[Watermark(0.45)]),
        ("a screenshot", &[Screenshot]),
        ("half the size, JPEG quality 40", &[Scale(0.5), Jpeg(40)]),
        ("cut and darker", &[crop(0.15), Channels([0.75; 3])]),
        ("mirrored, with a caption", &[Mirror, CAPTION]),
        ("blurred", &[Blur(2.0)]),
    ]
};
