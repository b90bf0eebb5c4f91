//! The formats that are read, and how large a picture may be.

/// The formats that are read, for messages.
pub const FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF and JPEG XL";
/// The most pixels a side of a picture may have.
pub const MAX_SIDE: u32 = 20_000;
/// The most pixels a picture may have.
pub const MAX_PIXELS: u64 = 50_000_000;
/// The most bytes of memory that decoding one picture may take, by
/// [`required_memory`](crate::required_memory). 50 million pixels of most formats fit.
pub const MAX_MEMORY: u64 = 512 << 20;
