//! The changes, with their parameters.

/// The shorter side, in pixels, of the picture to which a blur's deviation refers.
pub const BLUR_REFERENCE_SIDE: f64 = 192.0;

/// A change of a picture. Fractions are of the picture's own sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// Compresses as JPEG, at a quality of 1 to 100.
    Jpeg(u8),
    /// Scales both sides by a factor.
    Scale(f64),
    /// Cuts a fraction off both width and height.
    Crop {
        /// The fraction, 0 to 1.
        fraction: f64,
        /// The share of it that is cut off at the left, 0 to 1. The rest is cut off at the right.
        x: f64,
        /// The share of it that is cut off at the top, 0 to 1. The rest is cut off at the bottom.
        y: f64,
    },
    /// Mirrors left to right.
    Mirror,
    /// Rotates counter-clockwise about the middle by this many degrees. The size stays the same.
    /// Corners become black.
    Rotate(f64),
    /// Multiplies each channel by its factor. Values above 255 become 255.
    Channels([f64; 3]),
    /// Multiplies the difference of each channel from the mean grey of the picture.
    Contrast(f64),
    /// Multiplies the difference of each channel from the grey of its pixel. A factor of 0 leaves
    /// only grey.
    Saturation(f64),
    /// Blurs by a Gaussian. Its standard deviation is in pixels of a picture whose shorter side is
    /// [`BLUR_REFERENCE_SIDE`].
    Blur(f64),
    /// Draws a band with two lines of text.
    Caption {
        /// The height of the band, as a fraction of the picture's.
        fraction: f64,
        /// True if the band is at the top, false if it is at the bottom.
        top: bool,
        /// The band's colour.
        paper: [u8; 3],
        /// The text's colour.
        ink: [u8; 3],
    },
    /// Adds a frame around the picture.
    Border {
        /// Its width, as a fraction of the shorter side.
        fraction: f64,
        /// Its colour.
        colour: [u8; 3],
    },
    /// Draws rows of text across the picture, with an opacity of 0 to 1.
    Watermark(f64),
    /// Shows the picture on a phone's screen, with bars and text above and below.
    Screenshot,
    /// Covers a rectangle, given in fractions, with one colour.
    Patch {
        /// Its left edge.
        x: f64,
        /// Its upper edge.
        y: f64,
        /// Its width.
        width: f64,
        /// Its height.
        height: f64,
        /// Its colour.
        colour: [u8; 3],
    },
}
