//! A rectangle of a picture in fractions of its sides: parsed, checked and converted to pixels.

use std::str::FromStr;

/// The fraction of a side by which a part may extend past the picture, because clients may compute
/// in single precision.
const TOLERANCE: f64 = 1e-6;

/// A rectangle of a picture of any size: its top-left corner, width and height in fractions of the
/// picture's sides, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PixelRect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// The reason why a text or a rectangle is not a part of a picture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PartError {
    /// The text is not four numbers.
    #[error(
        "'{found}' is not four numbers separated by commas: x, y, width and height, in fractions of the picture's sides"
    )]
    Form {
        /// The first 60 characters of the text.
        found: String,
    },
    /// The rectangle is empty or reaches outside the picture.
    #[error(
        "{what}; x, y, width and height are fractions of the picture's sides: 0,0,1,1 is the whole picture"
    )]
    Range {
        /// The wrong value and its range.
        what: String,
    },
    /// The rectangle is smaller than a pixel.
    #[error(
        "the box is less than a pixel wide or high in a picture of {width} × {height} pixels; make it larger"
    )]
    NoPixels {
        /// Width of the picture in pixels.
        width: u32,
        /// Height of the picture in pixels.
        height: u32,
    },
}

impl Part {
    /// Checks a part, given by its top-left corner, width and height in fractions.
    ///
    /// # Errors
    /// [`PartError::Range`].
    pub fn new(x: f64, y: f64, width: f64, height: f64) -> Result<Self, PartError> {
        let wrong = |what: String| Err(PartError::Range { what });
        for (name, value) in [("x", x), ("y", y)] {
            if !(0.0..=1.0).contains(&value) {
                return wrong(format!("{name} of the box is {value:?}; it must be 0 to 1"));
            }
        }
        for (name, value) in [("width", width), ("height", height)] {
            if !(value > 0.0 && value <= 1.0 + TOLERANCE) {
                return wrong(format!(
                    "{name} of the box is {value:?}; it must be above 0 and at most 1"
                ));
            }
        }
        for (end, start, side) in [
            ("right", ("x", x), ("width", width)),
            ("lower", ("y", y), ("height", height)),
        ] {
            if start.1 + side.1 > 1.0 + TOLERANCE {
                return wrong(format!(
                    "the box ends beyond the picture's {end} edge: {} {:?} and {} {:?} add up to more than 1",
                    start.0, start.1, side.0, side.1
                ));
            }
        }
        Ok(Part {
            x,
            y,
            width,
            height,
        })
    }

    /// Returns the part in pixels of a picture, given by its width and height in pixels. Edges are
    /// rounded to the nearest pixel.
    pub(crate) fn in_pixels(&self, width: u32, height: u32) -> Result<PixelRect, PartError> {
        let ends = |start: f64, length: f64, side: u32| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the fraction is 0 to 1, so the result is at most the side"
            )]
            let pixels = |fraction: f64| (fraction.min(1.0) * f64::from(side)).round() as u32;
            let first = pixels(start);
            (first, pixels(start + length) - first)
        };
        let (x, wide) = ends(self.x, self.width, width);
        let (y, high) = ends(self.y, self.height, height);
        if wide == 0 || high == 0 {
            return Err(PartError::NoPixels { width, height });
        }
        Ok(PixelRect {
            x,
            y,
            width: wide,
            height: high,
        })
    }
}

impl From<Part> for [f64; 4] {
    /// Returns x, y, width and height.
    fn from(part: Part) -> Self {
        [part.x, part.y, part.width, part.height]
    }
}

impl FromStr for Part {
    type Err = PartError;

    /// Parses `x,y,width,height`.
    fn from_str(text: &str) -> Result<Self, PartError> {
        let numbers: Result<Vec<f64>, _> = text.split(',').map(|one| one.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[x, y, width, height]) => Part::new(x, y, width, height),
            _ => Err(PartError::Form {
                found: text.chars().take(60).collect(),
            }),
        }
    }
}
