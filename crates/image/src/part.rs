//! A rectangle of a picture, in shares of its sides: read from text, checked, and turned into pixels.
//! Knows no picture but its width and height.

use std::str::FromStr;

/// By how much of a side a part may end past the picture, for those who compute its ends in single precision.
const SLACK: f64 = 1e-6;

/// A rectangle of a picture, whatever its size: its top-left corner, width and height in shares of the picture's sides, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pane {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// Why a text or a rectangle is not a part of a picture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PartError {
    /// Not four numbers.
    #[error(
        "'{found}' is not four numbers with commas between: x, y, width and height, in shares of 1"
    )]
    Form {
        /// The text, up to 60 characters of it.
        found: String,
    },
    /// Without an area, or partly outside of the picture.
    #[error("{what}; x, y, width and height are shares of 1, so that 0,0,1,1 is the whole picture")]
    Range {
        /// What is wrong.
        what: String,
    },
    /// Smaller than a pixel.
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
    /// A part by its top-left corner, width and height.
    ///
    /// # Errors
    /// [`PartError::Range`].
    pub fn new(x: f64, y: f64, width: f64, height: f64) -> Result<Self, PartError> {
        let wrong = |what: String| Err(PartError::Range { what });
        for (name, value) in [("x", x), ("y", y)] {
            if !(0.0..=1.0).contains(&value) {
                return wrong(format!("{name} {value:?} of the box is not from 0 to 1"));
            }
        }
        for (name, value) in [("width", width), ("height", height)] {
            if !(value > 0.0 && value <= 1.0 + SLACK) {
                return wrong(format!(
                    "{name} {value:?} of the box is not above 0 and at most 1"
                ));
            }
        }
        for (end, start, side) in [
            ("right", ("x", x), ("width", width)),
            ("lower", ("y", y), ("height", height)),
        ] {
            if start.1 + side.1 > 1.0 + SLACK {
                return wrong(format!(
                    "the box ends beyond the picture's {end} edge: {} {:?} and {} {:?} are more than 1 together",
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

    /// The pixels of it in a picture of a width and a height in pixels: its edges go to the nearest edge of a pixel.
    pub(crate) fn pane(&self, width: u32, height: u32) -> Result<Pane, PartError> {
        let ends = |start: f64, length: f64, side: u32| {
            let at = |share: f64| (share.min(1.0) * f64::from(side)).round() as u32;
            let from = at(start);
            (from, at(start + length) - from)
        };
        let (x, wide) = ends(self.x, self.width, width);
        let (y, high) = ends(self.y, self.height, height);
        if wide == 0 || high == 0 {
            return Err(PartError::NoPixels { width, height });
        }
        Ok(Pane {
            x,
            y,
            width: wide,
            height: high,
        })
    }
}

impl From<Part> for [f64; 4] {
    /// Its x, y, width and height.
    fn from(part: Part) -> Self {
        [part.x, part.y, part.width, part.height]
    }
}

impl FromStr for Part {
    type Err = PartError;

    /// Reads `x,y,width,height`.
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
