//! The size of a picture, the memory that its decoder takes, and the limits on both.

use crate::types::{
    error::ImageError,
    kind::Kind,
    limits::{MAX_MEMORY, MAX_PIXELS, MAX_SIDE},
};

/// Bytes of a decoder's tables and windows, for any picture.
pub(crate) const DECODER_OVERHEAD: u64 = 1 << 18;

/// Width and height of a picture in pixels as it is stored, and the maximum number of bytes that
/// decoding it holds at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub width: u32,
    pub height: u32,
    pub peak_memory: u64,
}

impl Header {
    /// Computes the peak memory. `pixel_bytes` is the size of a decoded pixel, `alpha` is true if
    /// that includes alpha, and `decoder_bytes` are the other bytes that the decoder needs.
    pub(crate) fn new(
        width: u32,
        height: u32,
        pixel_bytes: u64,
        alpha: bool,
        decoder_bytes: u64,
    ) -> Self {
        let pixels = u64::from(width) * u64::from(height);
        let times = |bytes: u64| pixels.saturating_mul(bytes);
        let decoding = times(pixel_bytes).saturating_add(decoder_bytes);
        let to_rgb = match (pixel_bytes, alpha) {
            (4, true) => times(4 + 3),
            (_, true) => times(pixel_bytes.saturating_add(4).max(4 + 3)),
            (3, false) => times(3),
            (_, false) => times(pixel_bytes.saturating_add(3)),
        };
        // The picture before and after it is turned upright, and the rows between the two passes of
        // resizing to an input of up to 256 pixels.
        let upright = times(3 + 3).saturating_add(u64::from(width.max(height)) * 3 * 256);
        Header {
            width,
            height,
            peak_memory: decoding.max(to_rgb).max(upright),
        }
    }

    /// Checks the size against the limits.
    pub(crate) fn check(self, kind: Kind) -> Result<Self, ImageError> {
        let Header {
            width,
            height,
            peak_memory,
        } = self;
        if width == 0 || height == 0 {
            return Err(kind.malformed("it has no pixels"));
        }
        if width.max(height) > MAX_SIDE
            || u64::from(width) * u64::from(height) > MAX_PIXELS
            || peak_memory > MAX_MEMORY
        {
            return Err(self.too_large());
        }
        Ok(self)
    }

    pub(crate) fn too_large(self) -> ImageError {
        ImageError::TooLarge {
            width: self.width,
            height: self.height,
            megabytes: self.peak_memory.div_ceil(1_000_000),
        }
    }
}
