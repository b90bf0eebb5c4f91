//! The square that a model reads, and how a picture is fitted into it.

use std::{
    fmt::{Display, Formatter},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The way of making a picture square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Stretches the whole picture.
    #[default]
    Stretch,
    /// Takes the largest square in the middle.
    Crop,
}

impl Display for Resize {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Resize::Stretch => "stretch",
            Resize::Crop => "crop",
        })
    }
}

impl FromStr for Resize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stretch" => Ok(Resize::Stretch),
            "crop" => Ok(Resize::Crop),
            _ => Err("it must be stretch or crop".to_owned()),
        }
    }
}

/// The square that a model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its side in pixels.
    pub side: u32,
    /// How a picture is made square.
    pub resize: Resize,
}

impl Input {
    /// Returns an input with this side in pixels that stretches pictures.
    pub fn stretched(side: u32) -> Self {
        Input {
            side,
            resize: Resize::Stretch,
        }
    }
}

/// A square picture, ready for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Its side in pixels.
    pub size: u32,
    /// `size` × `size` × 3 bytes: row by row; red, green and blue of each pixel.
    pub rgb: Vec<u8>,
}
