//! Resizes decoded pictures to the square that a model reads.

use ::image::RgbImage;
use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::U8x3,
};

use crate::types::{
    error::ImageError,
    input::{Input, Pixels, Resize},
};

/// Resizes a picture to a model's input. Each pixel of a smaller picture is the mean of all pixels
/// that it covers.
///
/// # Errors
/// [`ImageError::Resize`].
pub fn resize(picture: &RgbImage, input: Input) -> Result<Pixels, ImageError> {
    let size = input.side;
    let rgb = scale(picture, size, size, input.resize)?;
    Ok(Pixels { size, rgb })
}

/// Resizes a picture to a width and a height in pixels. Returns its bytes, row by row.
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
