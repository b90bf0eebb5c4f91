//! The square that a model reads, and how a picture becomes it.
//! Knows pixels in memory, not files.

use std::{
    fmt::{Display, Formatter},
    str::FromStr,
};

use ::image::RgbImage;
use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};
use serde::{Deserialize, Serialize};

use crate::ImageError;

/// How a picture that is not square becomes a model's square input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The whole picture, stretched.
    #[default]
    Stretch,
    /// The middle square, as long as the shorter side.
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
    /// Pixels a side.
    pub side: u32,
    /// How a picture becomes it.
    pub resize: Resize,
}

impl Input {
    /// Pictures stretched to a side, in pixels.
    pub fn stretched(side: u32) -> Self {
        Input {
            side,
            resize: Resize::Stretch,
        }
    }
}

/// A square picture as a model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Pixels a side.
    pub size: u32,
    /// `size` × `size` × 3 bytes, row by row, red, green and blue.
    pub rgb: Vec<u8>,
}

/// Makes a model's input of a picture. Each pixel of a smaller picture is the mean of all that it covers.
///
/// # Errors
/// [`ImageError::Resize`].
pub fn resize(picture: &RgbImage, input: Input) -> Result<Pixels, ImageError> {
    let size = input.side;
    let rgb = scale(picture, size, size, input.resize)?;
    Ok(Pixels { size, rgb })
}

/// The bytes of a picture brought to a width and a height, row by row.
pub(crate) fn scale(
    picture: &RgbImage,
    width: u32,
    height: u32,
    how: Resize,
) -> Result<Vec<u8>, ImageError> {
    let mut rgb = vec![0; width as usize * height as usize * 3];
    let source =
        TypedImageRef::<U8x3>::from_buffer(picture.width(), picture.height(), picture.as_raw())
            .map_err(|error| ImageError::Resize(error.into()))?;
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut rgb)
        .map_err(|error| ImageError::Resize(error.into()))?;
    let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    if how == Resize::Crop {
        options = options.fit_into_destination(Some((0.5, 0.5)));
    }
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(|error| ImageError::Resize(error.into()))?;
    Ok(rgb)
}
