//! The supported formats, and how large a picture may be.

/// The supported formats, for messages.
pub const FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF and JPEG XL";
/// Maximum number of pixels along a side of a picture.
pub const MAX_SIDE: u32 = 20_000;
/// Maximum number of pixels of a picture.
pub const MAX_PIXELS: u64 = 50_000_000;
/// Maximum number of bytes of memory for decoding one picture, as
/// [`required_memory`](crate::required_memory) counts them. 50 million pixels fit in most formats.
pub const MAX_MEMORY: u64 = 512 << 20;
